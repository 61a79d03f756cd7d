/**
 * Worker threads that are not ended while they load native modules: napi_throw in a thread that is being ended, as from the
 * initialization of koffi, is fatal to the whole process (node-addon-api, Error::ThrowAsJavaScriptException).
 */
import { errorMonitor } from 'node:events';
import { getEnvironmentData, setEnvironmentData, Worker, type WorkerOptions } from 'node:worker_threads';

const KEY = 'crisp:loaded';
/** Longest wait for a thread that loads, in ms: an emulated machine takes half a minute. */
const LOAD_MS = 60_000;
/** The same at the end of the process, which nothing can tell of a thread that fails. */
const END_MS = 10_000;

/** A worker whose script calls `threadLoaded` after its imports; until then it is ended neither by `terminate` nor by the process's end. */
export class WorkerThread extends Worker {
  readonly #loaded: Int32Array<SharedArrayBuffer>;

  /** Throws what `Worker` throws. */
  constructor(script: URL, options: WorkerOptions = {}) {
    const loaded = new Int32Array(new SharedArrayBuffer(4));
    setEnvironmentData(KEY, loaded); // copied to the new thread, memory shared
    try {
      super(script, options);
    } finally {
      setEnvironmentData(KEY, undefined);
    }
    this.#loaded = loaded;
    const ending = (): void => {
      Atomics.wait(loaded, 0, 0, END_MS);
    };
    process.setMaxListeners(0); // one for each thread that loads
    process.once('exit', ending);
    // Of one that has failed to load. A listener for errors would answer for them.
    this.once(errorMonitor, () => wake(loaded));
    this.once('exit', () => wake(loaded));
    void Promise.resolve(Atomics.waitAsync(loaded, 0, 0).value).then(() => process.off('exit', ending));
  }

  /** Ends the thread, once it has loaded its modules. */
  override async terminate(): Promise<number> {
    this.ref(); // the caller waits for it
    const { async, value } = Atomics.waitAsync(this.#loaded, 0, 0, LOAD_MS);
    if (async) await value;
    return await super.terminate();
  }
}

/** To be called by the script of a `WorkerThread` as its first statement: its imports are loaded by then. */
export function threadLoaded(): void {
  const loaded = getEnvironmentData(KEY);
  if (loaded instanceof Int32Array) wake(loaded);
}

function wake(loaded: Int32Array): void {
  Atomics.store(loaded, 0, 1);
  Atomics.notify(loaded, 0);
}
