/** What images need to know of their users, declared here and connected in daemon/services.ts. */

export interface LayerUsers {
  /**
   * The ids (`sha256:…`) of the images whose layers a container or an image volume stands on, running or not. Asked
   * when layers are collected: an image that was removed keeps its layers while it is named here.
   */
  imagesInUse(): Iterable<string>;
}

/** Nobody uses anything. */
export const noLayerUsers: LayerUsers = { imagesInUse: () => [] };
