// HDF5 as the server tells it over HTTP: types, shapes and values, as h5web has them.

import { DTypeClass, ShapeClass } from "@h5web/app";
import type { Attribute, DType, NumericType, Shape } from "@h5web/app";

export type Hdf5Type =
  | { class: "H5T_INTEGER" | "H5T_FLOAT"; base: string }
  | { class: "H5T_ENUM"; base: Hdf5Type; mapping: Record<string, number> }
  | { class: "H5T_COMPOUND"; fields: { name: string; type: Hdf5Type }[] }
  | { class: "H5T_ARRAY"; base: Hdf5Type; dims: number[] }
  | { class: "H5T_STRING"; charSet: string; length: number | "H5T_VARIABLE" };

export interface Hdf5Shape {
  class: "H5S_SIMPLE" | "H5S_SCALAR" | "H5S_NULL";
  dims?: number[];
}

export interface Hdf5Attribute {
  type: Hdf5Type;
  shape: Hdf5Shape;
  value?: unknown;
}

export interface Hdf5Link {
  id: string;
  collection: "groups" | "datasets";
}

/** A group or a dataset. */
export interface Hdf5Object {
  id: string;
  attributes: Record<string, Hdf5Attribute>;
  links?: Record<string, Hdf5Link>;
  shape?: Hdf5Shape;
  type?: Hdf5Type;
}

export function shapeOf(shape: Hdf5Shape): Shape {
  if (shape.class === "H5S_SIMPLE") {
    return { class: ShapeClass.Array, dims: shape.dims ?? [] };
  }
  return shape.class === "H5S_SCALAR" ? { class: ShapeClass.Scalar, dims: [] } : { class: ShapeClass.Null };
}

export function typeOf(type: Hdf5Type): DType {
  switch (type.class) {
    case "H5T_INTEGER":
    case "H5T_FLOAT":
      return numberType(type.class, type.base);
    case "H5T_ENUM":
      return { class: DTypeClass.Bool, base: typeOf(type.base) as NumericType }; // no others are told
    case "H5T_ARRAY":
      return { class: DTypeClass.Array, base: typeOf(type.base), dims: type.dims };
    case "H5T_COMPOUND": {
      const fields = new Map(type.fields.map((field) => [field.name, typeOf(field.type)]));
      const [real, imaginary] = [fields.get("r"), fields.get("i")];
      if (fields.size === 2 && real && imaginary) {
        return { class: DTypeClass.Complex, realType: real as NumericType, imagType: imaginary as NumericType };
      }
      return { class: DTypeClass.Compound, fields };
    }
    case "H5T_STRING": {
      const charSet = type.charSet === "H5T_CSET_ASCII" ? "ASCII" : "UTF-8";
      const length = type.length === "H5T_VARIABLE" ? undefined : type.length;
      return { class: DTypeClass.String, charSet, strPad: "null-terminated", length };
    }
  }
}

export function attributesOf(object: Hdf5Object): Attribute[] {
  return Object.entries(object.attributes).map(([name, { shape, type }]) => {
    return { name, shape: shapeOf(shape), type: typeOf(type) };
  });
}

function numberType(kind: "H5T_INTEGER" | "H5T_FLOAT", base: string): NumericType {
  const [, sign, size, order] = /_([IUF])(\d+)(LE|BE)$/.exec(base) ?? [];
  const endianness = order === "BE" ? "big-endian" : "little-endian";
  if (kind === "H5T_FLOAT") {
    return { class: DTypeClass.Float, size: Number(size), endianness };
  }
  return { class: DTypeClass.Integer, signed: sign === "I", size: Number(size), endianness };
}

/** Whether the values of a type come as bytes that `decoded` reads; the others come as JSON. */
export function isBinary(type: DType): boolean {
  switch (type.class) {
    case DTypeClass.Integer:
    case DTypeClass.Float:
    case DTypeClass.Bool:
    case DTypeClass.Complex:
      return true;
    default:
      return false;
  }
}

/** The items of an array that came as bytes: those of complex numbers are pairs. */
export function decoded(bytes: ArrayBuffer, type: DType): ArrayLike<unknown> {
  if (type.class === DTypeClass.Bool) {
    return new Int8Array(bytes);
  }
  if (type.class === DTypeClass.Complex) {
    const parts = decoded(bytes, type.realType);
    return Array.from({ length: parts.length / 2 }, (_, at) => [parts[2 * at], parts[2 * at + 1]]);
  }
  const { class: kind, size, endianness } = type as NumericType;
  const ordered = endianness === "big-endian" ? swapped(bytes, size / 8) : bytes;
  if (kind === DTypeClass.Float && size === 16) {
    return Float32Array.from(new Uint16Array(ordered), halfFloat);
  }
  const sign = (type as { signed?: boolean }).signed === false ? "U" : "";
  const name = kind === DTypeClass.Float ? `Float${size}` : `${sign}Int${size}`;
  return new ARRAYS[name as keyof typeof ARRAYS](ordered);
}

const ARRAYS = {
  Float32: Float32Array,
  Float64: Float64Array,
  Int8: Int8Array,
  Int16: Int16Array,
  Int32: Int32Array,
  Int64: BigInt64Array,
  UInt8: Uint8Array,
  UInt16: Uint16Array,
  UInt32: Uint32Array,
  UInt64: BigUint64Array,
};

function swapped(bytes: ArrayBuffer, size: number): ArrayBuffer {
  const copy = new Uint8Array(bytes.slice(0));
  for (let first = 0; first < copy.length; first += size) {
    copy.subarray(first, first + size).reverse();
  }
  return copy.buffer;
}

/** A number of 16 bits, of which 5 are the exponent. */
function halfFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) {
    return fraction ? NaN : sign * Infinity;
  }
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : (sign * fraction) / 2 ** 24;
}
