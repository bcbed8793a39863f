// Round numbers along a scale, which its ticks stand at.

import type { Scaling } from "./shade";

/** About so many ticks. */
const MANY = 5;

/** The ticks between two ends: at steps of 1, 2 or 5, or, with logarithms, at powers of ten and parts of them. */
export function ticksOf([least, greatest]: readonly [number, number], scale: Scaling): number[] {
  const isWide = scale === "log" ? greatest > 10 * least : scale === "symlog" && Math.max(-least, greatest) > 10;
  const inside = (value: number): boolean => value >= least && value <= greatest;
  if (!isWide) {
    return steps(least, greatest);
  }
  const last = Math.floor(Math.log10(Math.max(-least, greatest)));
  const first = scale === "log" ? Math.ceil(Math.log10(least)) : 0;
  const every = Math.max(1, Math.ceil((last - first) / MANY));
  const parts = last - first < 2 ? [1, 2, 5] : [1];
  const decades = Array.from({ length: Math.floor((last - first) / every) + 2 }, (_, at) => 10 ** (first + (at - 1) * every));
  const positive = decades.flatMap((decade) => parts.map((part) => Number((part * decade).toPrecision(3))));
  return scale === "log" ? positive.filter(inside) : [...positive.map((value) => -value), 0, ...positive.filter((value) => value >= 1)].filter(inside); // prettier-ignore
}

function steps(least: number, greatest: number): number[] {
  const rough = (greatest - least) / MANY;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((part) => part * decade >= rough) ?? 10) * decade;
  const first = Math.ceil(least / step);
  const count = Math.floor(greatest / step) - first + 1;
  return Array.from({ length: Math.max(0, Math.min(count, 4 * MANY)) }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}
