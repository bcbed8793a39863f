// Values as they come from the server, and as h5web has them.

import assert from "node:assert/strict";
import test from "node:test";

import { fits, Lengths } from "../src/entities";
import { decoded, typeOf, type Hdf5Object, type Hdf5Type } from "../src/hdf5";
import { parse } from "../src/json";
import ndarray, { assign } from "../src/ndarray";
import { State } from "../src/state";

test("numbers that JSON has not are read, and texts that look like them stay", () => {
  assert.deepEqual(parse('{"a": [NaN, -Infinity, 1.5], "NaN": "a \\"NaN\\" Infinity"}'), {
    a: [NaN, -Infinity, 1.5],
    NaN: 'a "NaN" Infinity',
  });
});

test("numbers of all kinds are read from their bytes", () => {
  const number = (base: string): Hdf5Type => ({ class: base.includes("F") ? "H5T_FLOAT" : "H5T_INTEGER", base });
  const bytes = (...all: number[]): ArrayBuffer => new Uint8Array(all).buffer;
  const cases: [Hdf5Type, ArrayBuffer, ArrayLike<unknown>][] = [
    [number("H5T_STD_U16BE"), bytes(1, 2, 0, 3), Uint16Array.of(258, 3)],
    [number("H5T_STD_I8LE"), bytes(255), Int8Array.of(-1)],
    [number("H5T_STD_I64LE"), bytes(254, 255, 255, 255, 255, 255, 255, 255), BigInt64Array.of(-2n)],
    [number("H5T_IEEE_F64LE"), new Float64Array([0.1, NaN]).buffer, Float64Array.of(0.1, NaN)],
    [number("H5T_IEEE_F16LE"), bytes(0, 0x3e, 0, 0xfc, 1, 0), Float32Array.of(1.5, -Infinity, 2 ** -24)],
    [
      { class: "H5T_ENUM", base: number("H5T_STD_I8LE"), mapping: { FALSE: 0, TRUE: 1 } },
      bytes(0, 1),
      Int8Array.of(0, 1),
    ],
  ];
  for (const [type, sent, values] of cases) {
    assert.deepEqual(decoded(sent, typeOf(type)), values);
  }
  const part = number("H5T_IEEE_F32LE");
  const complex: Hdf5Type = {
    class: "H5T_COMPOUND",
    fields: [
      { name: "r", type: part },
      { name: "i", type: part },
    ],
  };
  assert.deepEqual(decoded(new Float32Array([1, 2, 3, 4]).buffer, typeOf(complex)), [
    [1, 2],
    [3, 4],
  ]);
});

test("views of arrays are picked, transposed and copied", () => {
  const whole = ndarray(
    Int16Array.from({ length: 24 }, (_, at) => at),
    [2, 3, 4],
  );
  const part = whole.pick(1, null, null).transpose(1, 0);
  assert.deepEqual([part.shape, part.get(3, 2), part.size, part.dtype], [[4, 3], 23, 12, "int16"]);
  const copy = ndarray(new Int16Array(12), part.shape);
  assign(copy, part);
  assert.deepEqual([...(copy.data as Int16Array)].slice(0, 4), [12, 16, 20, 13]);
  assert.equal(whole.pick(0, 1, 2).get(), 6);
  assert.equal(ndarray([], [0, 3]).size, 0);
  assert.equal(ndarray([5, 6]).get(1, 0), 6); // so h5web asks for the items of a column
});

test("the lengths that h5web remembers grow with the dataset, and not where the slice is gone", () => {
  assert.deepEqual(
    [fits("3,:,:", [4, 2, 2]), fits("4,:,:", [4, 2, 2]), fits("1,:", [4, 2, 2]), fits(undefined, [1])],
    [true, false, false, true],
  );
  const first = [4, 2];
  const lengths = new Lengths(first);
  assert.equal(lengths.follow([4, 2], []), first);
  const second = lengths.follow([5, 2], []);
  assert.notEqual(second, first); // so that what is computed of it is computed anew
  assert.deepEqual(
    [first, second],
    [
      [5, 2],
      [5, 2],
    ],
  );
  assert.notEqual(lengths.follow([6, 2], []), second);
  assert.deepEqual(
    [first, second],
    [
      [6, 2],
      [6, 2],
    ],
  );
  assert.deepEqual(lengths.follow([3, 2], ["2,:"]), [3, 2]);
  assert.deepEqual(first, [3, 2]);
  assert.deepEqual(lengths.follow([2, 2], ["2,:"]), [2, 2]);
  assert.deepEqual(first, [3, 2]);
});

test("the first image is drawn where the tree does not say what is, or names what is not there", () => {
  const text = (value: string) => ({
    type: { class: "H5T_STRING", charSet: "H5T_CSET_UTF8", length: "H5T_VARIABLE" } as const,
    shape: { class: "H5S_SCALAR" } as const,
    value,
  });
  const drawn = (ofRoot: string | undefined, ofStage: string | undefined): unknown => {
    const objects: Record<string, Hdf5Object> = {
      root: {
        id: "root",
        attributes: ofRoot === undefined ? {} : { default: text(ofRoot) },
        links: { stage: { id: "stage", collection: "groups" } },
      },
      stage: {
        id: "stage",
        attributes: ofStage === undefined ? {} : { default: text(ofStage) },
        links: { n: { id: "n", collection: "datasets" }, map: { id: "map", collection: "datasets" } },
      },
      n: { id: "n", attributes: {}, shape: { class: "H5S_SCALAR" } },
      map: { id: "map", attributes: {}, shape: { class: "H5S_SIMPLE", dims: [2, 3] } },
    };
    return new State("root", objects, new Map()).known("/")?.attributes["default"]?.value;
  };
  assert.equal(drawn(undefined, undefined), "/stage/map");
  assert.equal(drawn("stage", "n"), "stage");
  assert.equal(drawn("stage", "nothing"), "/stage/map");
  assert.equal(drawn("/", undefined), "/stage/map");
});
