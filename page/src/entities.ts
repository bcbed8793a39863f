// The groups and datasets of h5web: one object for each path, which tells of the present state.

import { EntityKind, ShapeClass } from "@h5web/app";
import type { ArrayShape, ChildEntity, GroupWithChildren, ProvidedEntity, Shape, UnresolvedEntity } from "@h5web/app";

import { attributesOf, shapeOf, typeOf, type Hdf5Object } from "./hdf5";
import { pathOf, type State } from "./state";

/** Whether a selection, as `3,:,:`, is within these lengths. */
export function fits(selection: string | undefined, dims: number[]): boolean {
  const parts = selection?.split(",") ?? [];
  return (
    parts.length === 0 ||
    (parts.length === dims.length && parts.every((part, axis) => part === ":" || Number(part) < dims[axis]!))
  );
}

/**
 * The lengths of the dimensions of a dataset that grows.
 *
 * h5web keeps the slice that was chosen as long as the lengths that it remembers are those of the dataset, and computes
 * anew when it is given another array. So what it remembers follows, and is given in turn in one of two arrays.
 */
export class Lengths {
  private other: number[];

  constructor(private given: number[]) {
    this.other = [...given];
  }

  /** The array with the present lengths; where they are less, a slice is kept if all `selections` fit. */
  follow(now: number[], selections: (string | undefined)[]): number[] {
    const isGrown = now.every((length, axis) => length >= this.given[axis]!);
    const isKept = isGrown || (selections.length > 0 && selections.every((selection) => fits(selection, now)));
    if (now.length !== this.given.length || !isKept) {
      this.given = now;
      this.other = [...now];
    } else if (now.some((length, axis) => length !== this.given[axis])) {
      for (const array of [this.given, this.other]) {
        array.splice(0, array.length, ...now);
      }
      [this.given, this.other] = [this.other, this.given];
    }
    return this.given;
  }
}

export class Entities {
  private readonly byPath = new Map<string, ProvidedEntity>();
  private readonly lengths = new Map<string, Lengths>();

  at(path: string): ProvidedEntity {
    return this.byPath.get(path) ?? nothing(path);
  }

  [Symbol.iterator](): IterableIterator<[string, ProvidedEntity]> {
    return this.byPath.entries();
  }

  /**
   * Tell of a state, of which some functions may be known by now.
   *
   * `selections` are those that are drawn of a dataset. What is gone is unresolved, until it is back.
   */
  update(state: State, selections: (path: string) => (string | undefined)[]): void {
    for (const path of state.paths.keys()) {
      if (!this.byPath.has(path)) {
        this.byPath.set(path, nothing(path));
      }
    }
    for (const [path, entity] of this.byPath) {
      const { shape, ...told } = this.described(state, path) as ProvidedEntity & { shape?: Shape };
      for (const key of Object.keys(entity)) {
        delete entity[key as keyof ProvidedEntity];
      }
      Object.assign(entity, told, shape && { shape: this.followed(path, shape, selections(path)) });
    }
  }

  private described(state: State, path: string): ProvidedEntity {
    const object = state.known(path);
    if (!object) {
      return nothing(path);
    }
    const about = { name: nameOf(path), path, attributes: attributesOf(object) };
    if (object.type && object.shape) {
      // h5web draws no dimension without a length, and what it refused it would not draw later.
      const shape = isEmpty(object) ? ({ class: ShapeClass.Null } as const) : shapeOf(object.shape);
      return { ...about, kind: EntityKind.Dataset, shape, type: typeOf(object.type), rawType: object.type };
    }
    const signal = state.known(pathOf(path, String(object.attributes["signal"]?.value)));
    if (signal && isEmpty(signal)) {
      about.attributes = about.attributes.filter(({ name }) => name !== "signal");
    }
    const children = Object.keys(object.links ?? {}).map((name) => this.byPath.get(pathOf(path, name)) as ChildEntity);
    return { ...about, kind: EntityKind.Group, children } satisfies GroupWithChildren;
  }

  private followed(path: string, shape: Shape, selections: (string | undefined)[]): Shape {
    if (shape.class !== ShapeClass.Array) {
      return shape;
    }
    const { dims } = shape as ArrayShape;
    const lengths = this.lengths.get(path) ?? new Lengths(dims);
    this.lengths.set(path, lengths);
    return { ...shape, dims: lengths.follow(dims, selections) };
  }
}

function isEmpty({ shape }: Hdf5Object): boolean {
  return shape?.dims?.includes(0) ?? false;
}

function nothing(path: string): UnresolvedEntity {
  return { name: nameOf(path), path, kind: EntityKind.Unresolved, attributes: [] };
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
