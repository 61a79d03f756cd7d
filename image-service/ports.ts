/** What the image service needs to know about the users of layers, declared here and connected in daemon/services.ts. */

export interface LayerUsers {
  /**
   * The ids (`sha256:…`) of the images whose layers a container or an image volume uses, running or not. Called
   * when layers are collected: an image that was removed keeps its layers while it is named here.
   */
  imagesInUse(): Iterable<string>;
}

/** No layer is in use. */
export const noLayerUsers: LayerUsers = { imagesInUse: () => [] };
