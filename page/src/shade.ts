// How numbers become colours: a colour map, a scale, and the part of the numbers that it spans.

import type { ColorMap, Domain } from "@h5web/lib";

export type Scaling = "linear" | "log" | "symlog";

export interface Shade {
  colorMap: ColorMap;
  scale: Scaling;
  /** The part of the numbers that the colours span, in per cent of them. */
  low: number;
  high: number;
}

/** Of so many numbers percentiles are exact; of more, a part is taken. */
const SAMPLE = 1 << 15;

/** The numbers that the ends of the colours stand for; nothing where there is no number that has a colour. */
export function domainOf(values: ArrayLike<number>, { scale, low, high }: Omit<Shade, "colorMap">): Domain | undefined {
  const sorted = sortedSample(values, scale === "log" ? Number.MIN_VALUE : -Number.MAX_VALUE, low <= 0 || high >= 100);
  if (sorted.length === 0) {
    return undefined;
  }
  const [first, last] = [quantile(sorted, low / 100), quantile(sorted, high / 100)];
  return first < last ? [first, last] : apart(sorted[0]!, sorted.at(-1)!, first);
}

/** The finite numbers from `least` on, in their order; of many, every n-th, and the extremes where they are wanted. */
export function sortedSample(values: ArrayLike<number>, least = -Number.MAX_VALUE, hasExtremes = true): Float64Array {
  const step = Math.ceil(values.length / SAMPLE) | 1; // odd: no step along one column of an image
  const sample = new Float64Array(Math.ceil(values.length / step) + 2);
  let count = 0;
  for (let at = 0; at < values.length; at += step) {
    const value = values[at]!;
    if (value >= least && value < Infinity) {
      sample[count++] = value;
    }
  }
  if (hasExtremes && step > 1) {
    let [smallest, largest] = [Infinity, -Infinity];
    for (let at = 0; at < values.length; at++) {
      const value = values[at]!;
      if (value >= least && value < Infinity) {
        smallest = value < smallest ? value : smallest;
        largest = value > largest ? value : largest;
      }
    }
    if (smallest <= largest) {
      sample[count++] = smallest;
      sample[count++] = largest;
    }
  }
  return sample.subarray(0, count).sort();
}

function quantile(sorted: Float64Array, part: number): number {
  const at = part * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (above - below) * (at % 1);
}

/** Two ends that differ, where most numbers are the same one. */
function apart(smallest: number, largest: number, middle: number): Domain {
  if (smallest < largest) {
    return [smallest, largest];
  }
  const half = Math.abs(middle) / 2 || 0.5;
  return [middle - half, middle + half];
}
