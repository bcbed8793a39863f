// The numbers of curves as uPlot draws them.

import type uPlot from "uplot";

import type { Curve } from "./look";

/** The rows of numbers that uPlot draws: what is below the ground lies on it. */
export function aligned(x: ArrayLike<number>, curves: Curve[], ground: number | undefined): uPlot.AlignedData {
  const shown = (value: number | null | undefined): number | null => {
    if (value === null || value === undefined || !Number.isFinite(value)) {
      return null;
    }
    return ground === undefined ? value : Math.max(value, ground);
  };
  const rows = curves.flatMap(({ values, error }) => {
    const row = Array.from(values, shown);
    const ends = error ? [1, -1].map((sign) => row.map((value, at) => value && shown(value + sign * error[at]!))) : [];
    return [row, ...ends];
  });
  return [Array.from(x), ...rows];
}

/** Half of the least number that has a logarithm: what has none lies there, below what is seen. */
export function groundOf(values: ArrayLike<number | null>): number {
  let least = Infinity;
  for (let at = 0; at < values.length; at++) {
    const value = values[at]!;
    least = value > 0 && value < least ? value : least;
  }
  return least === Infinity ? 0.5 : least / 2;
}

/** The ends of the axis of values, around the least and the greatest of them; with logarithms above the ground. */
export function padded(least: number | null, greatest: number | null, ground: number | undefined): uPlot.Range.MinMax {
  if (least === null || greatest === null) {
    return ground === undefined ? [0, 1] : [1, 10];
  }
  if (ground !== undefined) {
    return [Math.max(least / 1.3, 1.4 * ground), Math.max(1.3 * greatest, 4 * ground)];
  }
  const margin = 0.05 * (greatest - least) || 0.5;
  return [least >= 0 && least < margin ? 0 : least - margin, greatest + margin];
}
