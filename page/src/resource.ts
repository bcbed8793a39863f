// What is read from the server again whenever it changed: one request at a time for each thing, and the latest wins.

import { useEffect, useRef, useSyncExternalStore } from "react";

import { Absent, Refused } from "./server";

/** What is known of something: the data last read, why the last reading failed, and whether there is something newer. */
export interface Shown<Data> {
  data?: Data;
  error?: Error;
  isStale: boolean;
}

/** Milliseconds after which a server that is not there is asked again. */
const PATIENCE = 1000;
/** So many things that no tile shows any more are kept, for tiles that show them again. */
const IDLE = 8;

const resources = new Map<string, Resource<unknown>>();

class Resource<Data> {
  shown: Shown<Data> = { isStale: true };
  private readonly listeners = new Set<() => void>();
  private wanted: string | undefined;
  private version: string | undefined;
  private isBusy = false;
  read!: (before: Data | undefined) => Promise<Data>;
  period = 0;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      forget();
    };
  };

  readonly get = (): Shown<Data> => this.shown;

  get isIdle(): boolean {
    return this.listeners.size === 0;
  }

  /** Have this version read, when those before it have been. */
  want(version: string): void {
    this.wanted = version;
    this.resume();
  }

  resume(): void {
    if (!this.isBusy) {
      this.isBusy = true;
      void this.work().finally(() => (this.isBusy = false));
    }
  }

  private async work(): Promise<void> {
    while (this.wanted !== this.version && !this.isIdle && document.visibilityState === "visible") {
      const version = this.wanted;
      const began = performance.now();
      try {
        const data = await this.read(this.shown.data);
        this.version = version;
        this.show({ data, isStale: false });
      } catch (error) {
        if (error instanceof Absent) {
          this.show({ ...this.shown, isStale: true });
          await pause(PATIENCE);
          continue;
        }
        this.version = version;
        this.show({ data: this.shown.data, error: error as Error, isStale: true });
        if (!(error instanceof Refused)) {
          throw error;
        }
      }
      // A pause as long as the reading leaves half of the time to the rest of the page, and to the server.
      await pause(Math.max(this.period, Math.min(1000, performance.now() - began)));
    }
  }

  private show(shown: Shown<Data>): void {
    this.shown = shown;
    for (const listener of this.listeners) {
      listener();
    }
  }
}

const NONE = new Resource<unknown>();
NONE.shown = { isStale: false };

function resourceAt<Data>(key: string): Resource<Data> {
  const known = resources.get(key) as Resource<Data> | undefined;
  const resource = known ?? new Resource<Data>();
  resources.delete(key);
  resources.set(key, resource as Resource<unknown>); // those that were used last are the last ones
  return resource;
}

function forget(): void {
  const idle = [...resources].filter(([, resource]) => resource.isIdle);
  for (const [key] of idle.slice(0, -IDLE)) {
    resources.delete(key);
  }
}

globalThis.document?.addEventListener("visibilitychange", () => {
  for (const resource of resources.values()) {
    resource.resume();
  }
});

/**
 * What is read under a key, and read again when its version changes; nothing for the key null.
 *
 * Under a new key the data of the one before are shown as stale, until there are some: so that nothing blinks.
 * Between two readings are at least `period` milliseconds.
 */
export function useResource<Data>(
  key: string | null,
  version: string,
  read: (before: Data | undefined) => Promise<Data>,
  period = 0,
): Shown<Data> {
  const resource: Resource<Data> = key === null ? (NONE as Resource<Data>) : resourceAt<Data>(key);
  const shown = useSyncExternalStore(resource.subscribe, resource.get, resource.get);
  const before = useRef<Data>();
  useEffect(() => {
    if (key !== null) {
      resource.read = read;
      resource.period = period;
      resource.want(version);
    }
  }, [key, resource, version]);
  if (key === null) {
    before.current = undefined;
  } else if (shown.data !== undefined) {
    before.current = shown.data;
  }
  return shown.data === undefined && !shown.error && before.current !== undefined
    ? { data: before.current, isStale: true }
    : shown;
}

export async function pause(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time));
}
