// Where curves are in their drawing, and which part of the axis is seen.

import uPlot from "uplot";

import { frameOf, isSame, type Frame } from "../frame";

/** Where the curves are, and how far in the drawing that is. */
export type Place = Frame & { left: number; top: number };

/** Whether the axis shows a part of what there is. */
export function isPart({ data, scales }: uPlot): boolean {
  const { min, max } = scales["x"]!;
  return min != null && max != null && (min > data[0][0]! || max < data[0].at(-1)!);
}

export function placeOf(made: uPlot): Place {
  const [left, top, width, height] = [made.bbox.left, made.bbox.top, made.bbox.width, made.bbox.height].map((length) =>
    Math.max(0, length / uPlot.pxRatio),
  ) as [number, number, number, number];
  const { min, max } = made.scales["x"]!;
  const ends: [number, number] = [min ?? 0, max ?? 1];
  const frame = frameOf([[ends[0], 0], [ends[1], 1]], [[0, height], [width, 0]], width, height); // prettier-ignore
  return { ...frame, left, top };
}

export function newer(before: Place | undefined, now: Place): Place {
  return before && isSame(before, now) && before.left === now.left && before.top === now.top ? before : now;
}

