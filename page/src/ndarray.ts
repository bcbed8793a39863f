// Views of arrays, in place of the packages ndarray and ndarray-ops: these compile code from texts when they run, which
// the Content-Security-Policy of the server forbids. Only what h5web uses is here.

type Data = ArrayLike<unknown> & { [index: number]: unknown };

function typeOf(data: Data): string {
  if (Array.isArray(data)) {
    return "array";
  }
  const name = data.constructor.name.replace("Array", "").toLowerCase();
  return name === "uint8clamped" ? "uint8_clamped" : name;
}

function product(shape: number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A part of an array, with the lengths of its dimensions and the steps along them. */
export class View {
  readonly dtype: string;
  readonly size: number;

  constructor(
    readonly data: Data,
    readonly shape: number[],
    readonly stride: number[],
    readonly offset: number,
  ) {
    this.dtype = typeOf(data);
    this.size = product(shape);
  }

  get dimension(): number {
    return this.shape.length;
  }

  /** An item; indices of dimensions that there are not make no difference. */
  get(...at: number[]): unknown {
    return this.data[this.stride.reduce((sum, step, axis) => sum + step * at[axis]!, this.offset)];
  }

  /** The part at these indices; a dimension with null, or with none, stays. */
  pick(...at: (number | null | undefined)[]): View {
    const stay = this.shape.map((_, axis) => axis).filter((axis) => typeof at[axis] !== "number");
    const offset = this.stride.reduce((sum, step, axis) => sum + step * (at[axis] ?? 0), this.offset);
    return new View(
      this.data,
      stay.map((axis) => this.shape[axis]!),
      stay.map((axis) => this.stride[axis]!),
      offset,
    );
  }

  transpose(...axes: number[]): View {
    return new View(
      this.data,
      axes.map((axis) => this.shape[axis]!),
      axes.map((axis) => this.stride[axis]!),
      this.offset,
    );
  }
}

/** A view of a whole array, in the order of C. */
export default function ndarray(data: Data, shape: number[] = [data.length]): View {
  const stride = shape.map((_, axis) => product(shape.slice(axis + 1)));
  return new View(data, shape, stride, 0);
}

/** Copy the items of a view into another of the same shape, which is a whole array. */
export function assign(target: View, source: View): void {
  const { data, shape, stride } = source;
  const last = shape.length - 1;
  const [length, step] = [shape[last] ?? 1, stride[last] ?? 1];
  let next = 0;
  const copy = (axis: number, first: number): void => {
    if (axis >= last) {
      for (let index = 0; index < length; index++) {
        target.data[next++] = data[first + index * step];
      }
      return;
    }
    for (let index = 0; index < shape[axis]!; index++) {
      copy(axis + 1, first + index * stride[axis]!);
    }
  };
  copy(0, source.offset);
}
