// What the server shows as a file of h5web that grows while it is looked at.

import { DataProviderApi, type AttributeValues, type DataContextValue, type Entity } from "@h5web/app";
import { type Dataset, type ExportURL, type ProvidedEntity, type ValuesStoreParams } from "@h5web/app";

import { Entities, fits } from "./entities";
import { decoded, isBinary } from "./hdf5";
import { pause } from "./resource";
import { Absent, Refused } from "./server";
import { pathOf, present, State } from "./state";

type Stores = Pick<DataContextValue, "entitiesStore" | "valuesStore" | "attrValuesStore">;

/** Milliseconds after which a server that is not there is asked again. */
const PATIENCE = 1000;

/**
 * A file that `refresh` brings up to date at once: what is drawn is read before it replaces what was drawn.
 *
 * So nothing in h5web ever waits for a refresh, or begins anew: the same objects tell of the next state.
 */
export class LiveFile extends DataProviderApi {
  private state: State | undefined;
  private stores: Stores | undefined;
  private redraw = async (): Promise<void> => undefined;
  private refreshing: Promise<void> | undefined;
  private readonly entities = new Entities();
  /** Paths that h5web has asked for. */
  private readonly opened = new Set<string>();
  /** The values that h5web has, and those of them that were drawn since the last refresh. */
  private readonly cached = new Map<string, ValuesStoreParams>();
  private readonly drawn = new Map<string, ValuesStoreParams>();
  private loading = 0;

  /** Have the stores of h5web, in which values are replaced, and what has all of it drawn anew, and waits for that. */
  attach(stores: Stores, redraw: () => Promise<void>): void {
    const { valuesStore } = stores;
    const get = valuesStore.get;
    valuesStore.get = (params) => {
      this.drawn.set(keyOf(params), params);
      return get(params);
    };
    this.stores = stores;
    this.redraw = redraw;
  }

  /** Show the latest state. */
  async refresh(isForced = false): Promise<void> {
    this.refreshing ??= this.replace(isForced).finally(() => (this.refreshing = undefined));
    return this.refreshing;
  }

  override async getEntity(path: string): Promise<ProvidedEntity> {
    return retried(
      async () => {
        const state = await this.ready();
        this.opened.add(path);
        if (await this.learn(state, path)) {
          this.tell(state);
        }
        return this.entities.at(path);
      },
      () => this.refresh(true),
    );
  }

  override async getAttrValues(entity: Entity): Promise<AttributeValues> {
    return this.attributes(entity.path);
  }

  override async getValue(params: ValuesStoreParams, signal?: AbortSignal): Promise<unknown> {
    this.loading++;
    try {
      const value = await retried(
        async () => {
          const state = await this.ready();
          if (await state.learn(params.dataset.path)) {
            this.tell(state);
          }
          return this.value(state, params, signal);
        },
        () => this.refresh(true),
        signal,
      );
      this.cached.set(keyOf(params), params);
      return value;
    } finally {
      this.loading--;
    }
  }

  override async getSearchablePaths(): Promise<string[]> {
    return [...(await this.ready()).paths.keys()];
  }

  override getExportURL(
    _format: string,
    _dataset: Dataset,
    _selection?: string,
    exported?: () => string,
  ): ExportURL | undefined {
    return exported && (async () => new Blob([exported()]));
  }

  private async ready(): Promise<State> {
    if (!this.state) {
      await this.refresh(true);
    }
    return this.state!;
  }

  private async replace(isForced: boolean): Promise<void> {
    if (this.state && (await present()) === this.state.root) {
      return;
    }
    const state = await State.open(this.state);
    await Promise.all([...this.opened].map((path) => this.learn(state, path)));
    await Promise.all([...this.drawn.values()].map(({ dataset }) => state.learn(dataset.path)));
    const drawn = [...this.drawn.values()].filter(({ dataset, selection }) =>
      fits(selection, state.known(dataset.path)?.shape?.dims ?? []),
    );
    const values = await Promise.all(drawn.map((params) => this.valueIfAny(state, params)));
    if (this.loading > 0 && this.state && !isForced) {
      return; // what is read meanwhile is of the state before
    }
    this.state = state;
    this.tell(state);
    this.fill(drawn.flatMap((params, at) => (values[at] === undefined ? [] : [[params, values[at]] as const])));
    await this.redraw(); // from then on it is known again what is drawn
  }

  /** Have the entities tell of a state, unless there is a newer one. */
  private tell(state: State): void {
    if (state === this.state) {
      this.entities.update(state, (path) => this.selections(path));
    }
  }

  /** Have the stores of h5web tell of the present state. */
  private fill(values: (readonly [ValuesStoreParams, unknown])[]): void {
    if (!this.stores) {
      return;
    }
    const { entitiesStore, valuesStore, attrValuesStore } = this.stores;
    for (const [path, entity] of this.entities) {
      if (this.opened.has(path) || this.functions(this.state!, path).length === 0) {
        entitiesStore.preset(path, entity);
      } else {
        entitiesStore.evict(path); // it is asked for when it is opened
      }
      if (attrValuesStore.has(entity)) {
        attrValuesStore.evict(entity);
        attrValuesStore.preset(entity, this.attributes(path));
      }
    }
    for (const params of this.cached.values()) {
      valuesStore.evict(params);
    }
    this.cached.clear();
    this.drawn.clear();
    for (const [params, value] of values) {
      valuesStore.preset(params, value);
      this.cached.set(keyOf(params), params);
    }
  }

  /** The paths of functions that were never computed: this one, or those in this group. */
  private functions(state: State, path: string): string[] {
    const names = Object.keys(state.known(path)?.links ?? {});
    const paths = [path, ...names.map((name) => pathOf(path, name))];
    return paths.filter((one) => state.paths.has(one) && !state.known(one));
  }

  private async learn(state: State, path: string): Promise<boolean> {
    return (await Promise.all(this.functions(state, path).map((one) => state.learn(one)))).includes(true);
  }

  private attributes(path: string): AttributeValues {
    const attributes = this.state?.known(path)?.attributes ?? {};
    return Object.fromEntries(Object.entries(attributes).map(([name, { value }]) => [name, value]));
  }

  private async value(state: State, params: ValuesStoreParams, signal?: AbortSignal): Promise<unknown> {
    const { dataset, selection } = params;
    const { path, type } = dataset;
    const isScalar = dataset.shape.dims.length === 0;
    if (!isScalar && isBinary(type)) {
      const items = decoded(await state.bytes(path, selection, signal), type);
      return isOneItem(selection) ? items[0] : items;
    }
    const items = await state.items(path, selection, signal);
    if (isScalar) {
      return items;
    }
    const flat = (items as unknown[]).flat(dataset.shape.dims.length - 1);
    return isOneItem(selection) ? flat[0] : flat;
  }

  private async valueIfAny(state: State, params: ValuesStoreParams): Promise<unknown> {
    try {
      return await this.value(state, params);
    } catch (error) {
      if (error instanceof Refused && error.code !== 410) {
        return undefined; // h5web asks for it again, and shows the reason
      }
      throw error;
    }
  }

  private selections(path: string): (string | undefined)[] {
    const drawn = [...this.drawn.values()].filter(({ dataset }) => dataset.path === path);
    return drawn.map(({ selection }) => selection);
  }
}

function keyOf({ dataset, selection }: ValuesStoreParams): string {
  return `${dataset.path}\n${selection ?? ""}`;
}

function isOneItem(selection: string | undefined): boolean {
  return selection !== undefined && !selection.includes(":");
}

/** What a reading gives; until there is a server it is asked again, and where the state is kept no more, it is opened anew. */
async function retried<Result>(
  read: () => Promise<Result>,
  reopen: () => Promise<unknown>,
  signal?: AbortSignal,
): Promise<Result> {
  for (;;) {
    try {
      return await read();
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof Refused && error.code === 410) {
        await reopen();
      } else if (error instanceof Absent) {
        await pause(PATIENCE);
      } else {
        throw error;
      }
    }
  }
}
