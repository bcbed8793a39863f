// The pure parts of what was measured at a point: regions, colours and curves.

import assert from "node:assert/strict";
import test from "node:test";

import { channelAt, figure, firstWithin, sortedPlaces, thinned, valueAt } from "../src/curves";
import {
  drawn,
  freeName,
  handlesOf,
  isTiny,
  moved,
  problemOf,
  stretched,
  withoutVertex,
  withVertex,
  type Region,
} from "../src/regions";
import { domainOf, sortedSample } from "../src/shade";

const RECTANGLE: Region = { name: "a", type: "rectangle", x: [1, 5], y: [2, 4] };
const TRIANGLE: Region = { name: "b", type: "polygon", x: [0, 4, 4], y: [0, 0, 3] };
const RANGE: Region = { name: "c", type: "range", x: [6.2, 6.6], y: [] };

test("a rectangle keeps the corner opposite to the one that is pulled, also through it", () => {
  assert.deepEqual(stretched(RECTANGLE, 2, [7, 9]), { ...RECTANGLE, x: [1, 7], y: [2, 9] });
  assert.deepEqual(stretched(RECTANGLE, 0, [8, 3]), { ...RECTANGLE, x: [5, 8], y: [3, 4] });
  assert.deepEqual(handlesOf(RECTANGLE)[3], [1, 4]);
});

test("ranges are pulled at either end, and have no y", () => {
  assert.deepEqual(stretched(RANGE, 0, [7, 100]), { ...RANGE, x: [6.6, 7] });
  assert.deepEqual(drawn("range", [3.000001, 5], [1, 9]), { type: "range", x: [1, 3], y: [] });
  assert.deepEqual(moved(RANGE, -0.2, 5).x, [6, 6.4]);
});

test("vertices come between two others and go until three are left", () => {
  const four = withVertex(TRIANGLE, 2, [1, 2]);
  assert.deepEqual(
    [four.x, four.y],
    [
      [0, 4, 4, 1],
      [0, 0, 3, 2],
    ],
  );
  assert.deepEqual(withoutVertex(four, 3), TRIANGLE);
  assert.equal(withoutVertex(TRIANGLE, 0), TRIANGLE);
  assert.deepEqual(stretched(TRIANGLE, 1, [5, -1]).x, [0, 5, 4]);
});

test("a click draws no region, and a new one has a name that is free", () => {
  assert.ok(isTiny({ type: "rectangle", x: [1, 9], y: [1, 1.2] }, 1));
  assert.ok(!isTiny(RANGE, 0.1));
  assert.equal(
    freeName([
      { ...RANGE, name: "region 1" },
      { ...RANGE, name: "region 3" },
    ]),
    "region 2",
  );
  assert.equal(problemOf("a", [RECTANGLE]), "another region is called a");
  assert.equal(problemOf("<b>\"/'", [RECTANGLE]), "");
});

test("colours span percentiles of what is a number, and for a logarithm of what has one", () => {
  const values = Float32Array.from({ length: 101 }, (_, index) => index);
  assert.deepEqual(domainOf(values, { scale: "linear", low: 1, high: 99 }), [1, 99]);
  assert.deepEqual(domainOf([NaN, 0, -3, 10, 1000], { scale: "log", low: 0, high: 100 }), [10, 1000]);
  assert.equal(domainOf([NaN, NaN], { scale: "linear", low: 0, high: 100 }), undefined);
  assert.deepEqual(domainOf([4, 4], { scale: "linear", low: 0, high: 100 }), [2, 6]);
  assert.deepEqual(domainOf([0, 0, 0, 7], { scale: "linear", low: 0, high: 50 }), [0, 7]); // most are the same
});

test("one bright pixel of a large image is in the sample", () => {
  const image = new Uint16Array(2048 * 2048).fill(3);
  image[1_000_001] = 65_000;
  const sample = sortedSample(image);
  assert.ok(sample.length < 140_000);
  assert.deepEqual([sample[0], sample.at(-1)], [3, 65_000]);
});

test("a thinned curve keeps its spikes and its gaps, a short one all of itself", () => {
  const y = Float64Array.from({ length: 100_000 }, (_, index) => (index === 77_777 ? 1000 : index === 5 ? -7 : 0));
  y.fill(NaN, 40_000, 50_000);
  const other = y.map((_, index) => index % 1000);
  const places = thinned([y, other], 0, 1000);
  assert.ok(places.length <= 1000);
  assert.ok(places.every((place, at) => at === 0 || place > places[at - 1]!));
  assert.ok([5, 77_777].every((spike) => places.includes(spike)));
  assert.ok(places.some((place) => Number.isNaN(y[place])));
  assert.deepEqual(thinned([[4, NaN, 6]], 1, 100), [1, 2]);
});

test("the last seconds, and places in the order of x", () => {
  assert.equal(firstWithin([0, 1, 2, 3, 10], 7.5), 3);
  assert.equal(firstWithin([0, 1], 100), 0);
  assert.deepEqual(sortedPlaces([3, 1, NaN, 2], 0, 3), [1, 3]);
});

test("channels are where they are on an axis, between two and beyond its ends", () => {
  const axis = [1, 2, 4];
  assert.deepEqual(
    [0, 1.5, 2.5, -1].map((channel) => valueAt(axis, channel)),
    [1, 3, 5, 0],
  );
  assert.deepEqual(
    [1, 3, 5, 0].map((value) => channelAt(axis, value)),
    [0, 1.5, 2.5, -1],
  );
});

test("figures are short, and whole numbers whole", () => {
  assert.deepEqual(
    [123456789, 0.000012345678, 1234.5678, NaN].map((value) => figure(value)),
    ["123456789", "0.000012346", "1234.6", "–"],
  );
});
