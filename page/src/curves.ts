// Curves before they are drawn: the part of a series that is wanted, with no more points than a screen shows.

/** The first index from which the times are within so many seconds before the last one. */
export function firstWithin(times: ArrayLike<number>, seconds: number): number {
  const from = times[times.length - 1]! - seconds;
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! < from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

export interface Series {
  x: number[];
  y: (number | null)[];
}

/** At most `most` points of a curve that keep what is seen of it: of each stretch the least and the greatest value. */
export function thinned(x: ArrayLike<number>, y: ArrayLike<number>, first: number, most: number): Series {
  const length = x.length - first;
  const size = Math.max(1, Math.ceil((2 * length) / most));
  const kept: Series = { x: [], y: [] };
  const keep = (at: number): void => {
    kept.x.push(x[at]!);
    kept.y.push(Number.isFinite(y[at]!) ? y[at]! : null);
  };
  for (let from = first; from < x.length; from += size) {
    const to = Math.min(from + size, x.length);
    let [least, greatest] = [from, from];
    for (let at = from + 1; at < to; at++) {
      if (y[at]! < y[least]! || Number.isNaN(y[least]!)) {
        least = at;
      }
      if (y[at]! > y[greatest]! || Number.isNaN(y[greatest]!)) {
        greatest = at;
      }
    }
    keep(Math.min(least, greatest));
    if (least !== greatest) {
      keep(Math.max(least, greatest));
    }
  }
  return kept;
}

/** Pairs in the order of their first number, without those that are not finite: the last `most` of what was measured. */
export function pairs(x: ArrayLike<number>, y: ArrayLike<number>, first: number, most: number): Series {
  const at: number[] = [];
  for (let index = Math.max(first, x.length - most); index < x.length; index++) {
    if (Number.isFinite(x[index]!) && Number.isFinite(y[index]!)) {
      at.push(index);
    }
  }
  at.sort((a, b) => x[a]! - x[b]!);
  return { x: at.map((index) => x[index]!), y: at.map((index) => y[index]!) };
}

/** Numbers as an axis or a table has them: whole ones whole, others with so many digits. */
export function figure(value: number, digits = 5): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e9) {
    return String(value);
  }
  return Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : Number.isNaN(value) ? "–" : String(value);
}

/** A name with its unit, as axes have it. */
export function labelled(name: string, unit?: string | null): string {
  return unit ? `${name} / ${unit}` : name;
}
