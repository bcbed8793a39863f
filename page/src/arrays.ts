// Arrays as the server sends them: a header in JSON, and their bytes, one array after the other.

import { parse } from "./json";

export type Numbers =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>;

export interface NamedArray {
  shape: number[];
  values: Numbers;
}

/** Arrays by name, and what else the header says. */
export interface Arrays<Header = Record<string, unknown>> {
  header: Header;
  arrays: Record<string, NamedArray>;
}

type Made = new (buffer: ArrayBuffer, offset: number, length: number) => Numbers;

const KINDS: Record<string, Made> = {
  f4: Float32Array,
  f8: Float64Array,
  i1: Int8Array,
  i2: Int16Array,
  i4: Int32Array,
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  b1: Uint8Array,
};
const WIDE: Record<string, new (buffer: ArrayBuffer, offset: number, length: number) => ArrayLike<bigint>> = {
  i8: BigInt64Array,
  u8: BigUint64Array,
};

/** Each array begins at a multiple of this. */
const STEP = 8;

/** The arrays in an answer; whole numbers of 64 bits become floats. */
export function arraysIn<Header>(buffer: ArrayBuffer): Arrays<Header> {
  const length = new DataView(buffer).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, 4, length));
  const { arrays: described, ...header } = parse(text) as {
    arrays: { name: string; dtype: string; shape: number[] }[];
  };
  const arrays: Record<string, NamedArray> = {};
  let offset = 4 + length;
  for (const { name, dtype, shape } of described) {
    const kind = dtype.slice(1);
    const size = shape.reduce((product, one) => product * one, 1);
    arrays[name] = { shape, values: valuesOf(buffer, kind, offset, size) };
    offset += Math.ceil((size * Number(kind.slice(1))) / STEP) * STEP;
  }
  return { header: header as Header, arrays };
}

function valuesOf(buffer: ArrayBuffer, kind: string, offset: number, size: number): Numbers {
  const Wide = WIDE[kind];
  if (Wide) {
    return Float64Array.from(new Wide(buffer, offset, size), Number);
  }
  const Kind = KINDS[kind];
  if (!Kind) {
    throw new TypeError(`arrays of ${kind} are not read`);
  }
  return new Kind(buffer, offset, size);
}
