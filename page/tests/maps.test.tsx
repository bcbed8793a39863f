// What is computed of maps, layouts and exports.

import assert from "node:assert/strict";
import test from "node:test";

import { arraysIn } from "../src/arrays";
import { csvOf } from "../src/exports";
import { changed, defaultLayout, layoutIn, withoutTile, withTile } from "../src/layouts";
import { combined, gridOf, histogramOf, nearest, nearestPoint, normalised, pixelAt, pointsOf } from "../src/maps";
import { profileOf, rgbOf, statisticsOf, tableOf, valuesIn, type Grid } from "../src/maps";
import { appended, type MapData } from "../src/measured";
import type { MapAbout, Status } from "../src/server";

function map(kind: "grid" | "line" | "points", shape: number[], values: number[], more: Record<string, number[]>): MapData {
  const arrays = Object.fromEntries(
    Object.entries(more).map(([name, numbers]) => [name, { shape: [numbers.length], values: Float64Array.from(numbers) }]),
  );
  const axes = [{ name: "motor_y", unit: "mm" }, { name: "motor_x", unit: "mm" }].slice(kind === "line" ? 1 : 0);
  return {
    header: { id: "m", label: "Fe K", kind, axes, unit: "counts", revision: 1, run: "r" },
    arrays: { values: { shape, values: Float32Array.from(values) }, ...arrays },
    etag: null,
  };
}

/** Two rows of three; x descends, as a scan from the right has it. */
const GRID = gridOf(
  map("grid", [2, 3], [1, 2, 3, 4, NaN, 6], { x: [0.3, 0.2, 0.1], y: [5, 6], seq_num: [1, 2, 3, 6, -1, 4] }),
)!;

test("arrays are read from the bytes of an answer", () => {
  const header = JSON.stringify({
    arrays: [
      { name: "a", dtype: "<u2", shape: [3] },
      { name: "b", dtype: "<f8", shape: [1, 2] },
      { name: "c", dtype: "<i8", shape: [1] },
    ],
    run: "r",
  });
  const padded = header.padEnd(Math.ceil((4 + header.length) / 8) * 8 - 4);
  const buffer = new ArrayBuffer(4 + padded.length + 8 + 16 + 8);
  new DataView(buffer).setUint32(0, padded.length, true);
  new Uint8Array(buffer).set(new TextEncoder().encode(padded), 4);
  new Uint16Array(buffer, 4 + padded.length, 3).set([1, 2, 65535]);
  new Float64Array(buffer, 12 + padded.length, 2).set([0.5, NaN]);
  new BigInt64Array(buffer, 28 + padded.length, 1).set([-7n]);
  const { header: said, arrays } = arraysIn(buffer);
  assert.deepEqual(said, { run: "r" });
  assert.deepEqual([...arrays["a"]!.values], [1, 2, 65535]);
  assert.deepEqual([arrays["b"]!.shape, [...arrays["b"]!.values]], [[1, 2], [0.5, NaN]]); // prettier-ignore
  assert.deepEqual([...arrays["c"]!.values], [-7]);
});

test("a map lies along ascending axes, and is read where it was measured", () => {
  assert.deepEqual([...GRID.values], [3, 2, 1, 6, NaN, 4]);
  assert.deepEqual([...Array.from(GRID.seqNums!)], [3, 2, 1, 4, -1, 6]);
  assert.deepEqual([GRID.xAxis, GRID.yAxis], [{ name: "motor_x", unit: "mm" }, { name: "motor_y", unit: "mm" }]); // prettier-ignore
  assert.equal(pixelAt(GRID, [0.21, 5.6]), 4);
  assert.equal(pixelAt(GRID, [0.36, 5]), undefined); // beside it
  assert.equal(nearest([1, 2, 4], 2.9), 1);
  const scattered = pointsOf(map("points", [2], [7, 8], { x: [0, 1], y: [10, 30], seq_num: [1, 2] }))!;
  assert.equal(nearestPoint(scattered, [0.9, 14], [1, 20]), 1); // as it looks: a step of y is short
  assert.deepEqual(Object.keys(tableOf(scattered)), ["seq_num", "motor_x (mm)", "motor_y (mm)", "Fe K (counts)"]);
  const bare = gridOf({ ...map("grid", [1, 2], [1, 2], {}) })!;
  assert.deepEqual([bare.xAxis.name, [...Array.from(bare.x)]], ["column", [0, 1]]); // without positions
  const line = pointsOf(map("line", [2], [1, 2], { x: [0, 1] }))!;
  assert.deepEqual([line.y, line.xAxis.name], [undefined, "motor_x"]);
});

test("maps are compared pixel by pixel", () => {
  const other: Grid = { ...GRID, label: "Ni K", values: Float32Array.from([1, 0, 1, 1, 1, 1]) };
  assert.deepEqual([...combined(GRID, other, "difference")!.values], [2, 2, 0, 5, NaN, 3]);
  const ratio = combined(GRID, other, "ratio")!;
  assert.deepEqual([...ratio.values], [3, NaN, 1, 6, NaN, 4]);
  assert.deepEqual([ratio.label, ratio.unit], ["Fe K ÷ Ni K", null]);
  assert.equal(combined(GRID, { ...other, nx: 2, ny: 3 }, "ratio"), undefined);
  const divided = normalised(GRID, "I0", { seqNums: [1, 2, 3, 4], values: [2, 4, 0, 3] });
  assert.deepEqual([...divided.values], [NaN, 0.5, 0.5, 2, NaN, NaN]); // by 0, and by what is not known
  assert.deepEqual([...rgbOf([GRID, undefined, other], [[1, 6], undefined, [0, 1]])].slice(0, 8), [102, 0, 255, 255, 51, 0, 0, 255]); // prettier-ignore
});

test("a line gives the pixels under it, a rectangle those in it", () => {
  const { distance, values } = profileOf(GRID, [[0.1, 5], [0.3, 5]]); // prettier-ignore
  assert.deepEqual([...values], [3, 2, 1]);
  assert.ok(Math.abs(distance[2]! - 0.15) < 0.06);
  const inside = valuesIn(GRID, [[0.15, 6.1], [0.35, 4]]); // prettier-ignore
  assert.deepEqual([...inside], [2, 1, NaN, 4]);
  const { count, missing, mean, deviation, sum, smallest, largest } = statisticsOf(inside);
  assert.deepEqual([count, missing, sum, smallest, largest], [3, 1, 7, 1, 4]);
  assert.ok(Math.abs(mean - 7 / 3) < 1e-12 && Math.abs(deviation - Math.sqrt(14 / 9)) < 1e-12);
  const { middles, counts } = histogramOf([0, 0.1, 1, NaN], 2);
  assert.deepEqual([[...middles], [...counts]], [[0.25, 0.75], [2, 1]]); // prettier-ignore
  assert.equal(histogramOf([NaN]).counts.length, 0);
});

test("columns grow at their end, and are replaced where all of them came", () => {
  const column = (...numbers: number[]) => ({ shape: [numbers.length], values: Float64Array.from(numbers) });
  const part = (uid: string, ...numbers: number[]) => ({ header: { uid }, arrays: { seq_num: column(...numbers) } });
  const first = part("r", 1, 2);
  const grown = appended(first, part("r", 3));
  assert.deepEqual([...grown.arrays["seq_num"]!.values], [1, 2, 3]);
  const again = appended(grown, part("r", 4, 5));
  assert.deepEqual([...again.arrays["seq_num"]!.values], [1, 2, 3, 4, 5]);
  assert.deepEqual([...grown.arrays["seq_num"]!.values], [1, 2, 3]); // what is shown stays as it is
  assert.deepEqual([...appended(again, part("r", 1, 2, 3)).arrays["seq_num"]!.values], [1, 2, 3]);
  assert.deepEqual([...appended(again, part("s", 9)).arrays["seq_num"]!.values], [9]);
  assert.deepEqual([...appended(again, part("r")).arrays["seq_num"]!.values], [1, 2, 3, 4, 5]);
});

test("a table says where it comes from, and nothing in it is a formula", () => {
  const origin = { uid: "3f2c", scan: "scan 7 grid", version: "bluesky-ext 1" };
  const text = csvOf({ 'a "b"': [1.5, NaN], c: ["=1+1", "x,y"], d: Int32Array.from([-1]) }, "Fe\nK", origin);
  assert.deepEqual(text.split("\r\n"), [
    "# Fe K",
    "# scan 7 grid, run 3f2c",
    "# bluesky-ext 1",
    '"a ""b""",c,d',
    "1.5,'=1+1,-1",
    'NaN,"x,y",',
    "",
  ]);
});

test("each analysis has a layout of its own, and what somebody stored is read with care", () => {
  const stage = (name: string) => [{ class: `bluesky_ext.callbacks.${name}` }] as Status["stages"];
  const kinds = (name: string) => defaultLayout(stage(name), [] as MapAbout[]).tiles.map(({ kind }) => kind);
  assert.deepEqual(kinds("CrystalMap"), ["map", "row", "image", "trend"]);
  assert.deepEqual(kinds("FluorescenceMap"), ["map", "row", "curve", "trend"]);
  assert.deepEqual(kinds("LiveAnalysis"), ["map", "image", "curve", "trend"]);
  const layout = defaultLayout(stage("CrystalMap"), []);
  assert.deepEqual(layoutIn(JSON.parse(JSON.stringify(layout))), layout);
  assert.deepEqual(layoutIn({ tiles: [...layout.tiles, layout.tiles[0], { kind: "bomb" }, null] }), layout);
  assert.equal(layoutIn({ tiles: 3 }), undefined);
  const more = withTile(layout, "log");
  assert.deepEqual([more.tiles.at(-1)!.id, more.tiles.at(-1)!.y], ["log1", 12]);
  assert.deepEqual(withoutTile(more, "log1"), layout);
  assert.equal(changed(layout, "map", { w: 3 }).tiles[0]!.w, 3);
});
