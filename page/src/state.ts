// One state of what the server shows: its groups and datasets, which stay as they are while it grows.

import type { Hdf5Link, Hdf5Object } from "./hdf5";
import { parse } from "./json";
import { send } from "./server";

interface Domain {
  root: string;
  domain_objs: Record<string, Hdf5Object>;
}

/** The classes of groups of which h5web draws the first, where no attribute says another one. */
const DRAWN = new Set<unknown>(["NXdata", "NXentry", "NXprocess"]);

/** The id of the state that the server shows now. */
export async function present(): Promise<string> {
  return ((await json("/")) as Domain).root;
}

export class State {
  /** What is at each path, the groups before what is in them. */
  readonly paths = new Map<string, Hdf5Link>();

  /** A state of which everything is known but functions; of these, what was known of them `before`. */
  constructor(
    readonly root: string,
    private readonly objects: Record<string, Hdf5Object>,
    private readonly before: Map<string, Hdf5Object>,
  ) {
    this.add("/", { id: root, collection: "groups" });
    this.choose();
  }

  /** The latest state, after another. Datasets that are functions are not computed for it. */
  static async open(before?: State): Promise<State> {
    const { root, domain_objs } = (await json("/?getobjs=known")) as Domain;
    return new State(root, domain_objs, before?.before ?? new Map());
  }

  /** What is known of a path: of a function what it was when it was computed last. */
  known(path: string): Hdf5Object | undefined {
    const link = this.paths.get(path);
    return link && (this.objects[link.id] ?? this.before.get(path));
  }

  /** Have a function computed for this state; whether there is one. */
  async learn(path: string): Promise<boolean> {
    const link = this.paths.get(path);
    const isNew = link !== undefined && !this.objects[link.id];
    if (isNew) {
      const object = (await json(`/${link.collection}/${link.id}?include_attrs=1`)) as Hdf5Object;
      this.objects[link.id] = object;
      this.before.set(path, object);
    }
    return isNew;
  }

  /** The items of a dataset, or of a part of it, as bytes. */
  async bytes(path: string, selection?: string, signal?: AbortSignal): Promise<ArrayBuffer> {
    const headers = { accept: "application/octet-stream" };
    return (await send(this.value(path, selection), { headers, signal })).arrayBuffer();
  }

  /** The same as JSON has it. */
  async items(path: string, selection?: string, signal?: AbortSignal): Promise<unknown> {
    return ((await json(this.value(path, selection), signal)) as { value: unknown }).value;
  }

  private value(path: string, selection?: string): string {
    const select = selection ? `?select=${encodeURIComponent(`[${selection}]`)}` : "";
    return `/datasets/${this.paths.get(path)?.id}/value${select}`;
  }

  /** Have the first image drawn, where the tree does not say what to draw, or names what is not there. */
  private choose(): void {
    const { attributes = {}, links = {} } = this.known("/") ?? {};
    const classes = Object.values(links).map(({ id }) => this.objects[id]?.attributes["NX_class"]?.value);
    const image = [...this.paths.keys()].find((path) => (this.known(path)?.shape?.dims ?? []).length > 1);
    if (image && !(attributes["default"] ? this.leads() : classes.some((name) => DRAWN.has(name)))) {
      const type = { class: "H5T_STRING", charSet: "H5T_CSET_UTF8", length: "H5T_VARIABLE" } as const;
      attributes["default"] = { type, shape: { class: "H5S_SCALAR" }, value: image };
    }
  }

  /** Whether the groups that the attributes `default` name, one after the other, are there. */
  private leads(): boolean {
    const passed = new Set<string>();
    for (let path = "/"; this.paths.has(path) && !passed.has(path); ) {
      passed.add(path);
      const name = this.known(path)?.attributes["default"]?.value;
      if (typeof name !== "string") {
        return true;
      }
      path = name.startsWith("/") ? name : pathOf(path, name);
    }
    return false;
  }

  private add(path: string, link: Hdf5Link): void {
    this.paths.set(path, link);
    for (const [name, child] of Object.entries(this.objects[link.id]?.links ?? {})) {
      this.add(pathOf(path, name), child);
    }
  }
}

/** The path of what has a name in a group. */
export function pathOf(group: string, name: string): string {
  return group === "/" ? `/${name}` : `${group}/${name}`;
}

async function json(path: string, signal?: AbortSignal): Promise<unknown> {
  const answer = await send(path, { headers: { accept: "application/json" }, signal });
  return parse(await answer.text());
}
