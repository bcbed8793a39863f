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

/** At most `most` places of curves that keep what is seen of them: of each stretch the least and greatest of each. */
export function thinned(curves: ArrayLike<number>[], first: number, most: number): number[] {
  const length = curves[0]?.length ?? 0;
  const size = Math.max(1, Math.ceil((2 * curves.length * (length - first)) / most));
  const places: number[] = [];
  for (let from = first; from < length; from += size) {
    const to = Math.min(from + size, length);
    const found = size === 1 ? [from] : curves.flatMap((values) => extremes(values, from, to));
    places.push(...[...new Set(found)].sort((a, b) => a - b));
  }
  return places;
}

/** Where the least and the greatest number of a stretch are; where there is none, its beginning. */
function extremes(values: ArrayLike<number>, from: number, to: number): number[] {
  let [least, greatest] = [from, from];
  for (let at = from + 1; at < to; at++) {
    if (values[at]! < values[least]! || Number.isNaN(values[least]!)) {
      least = at;
    }
    if (values[at]! > values[greatest]! || Number.isNaN(values[greatest]!)) {
      greatest = at;
    }
  }
  return [least, greatest];
}

/** The places of the last `most` finite numbers from `first` on, in their order. */
export function sortedPlaces(x: ArrayLike<number>, first: number, most: number): number[] {
  const places: number[] = [];
  for (let at = Math.max(first, x.length - most); at < x.length; at++) {
    if (Number.isFinite(x[at]!)) {
      places.push(at);
    }
  }
  return places.sort((a, b) => x[a]! - x[b]!);
}

/** The value of an axis at a channel; channels between two, and beyond the ends, are on straight lines. */
export function valueAt(axis: ArrayLike<number>, channel: number): number {
  const below = Math.min(Math.max(Math.floor(channel), 0), Math.max(axis.length - 2, 0));
  const step = (axis[below + 1] ?? axis[below]! + 1) - axis[below]!;
  return axis[below]! + (channel - below) * step;
}

/** The channel at a value of an axis that rises. */
export function channelAt(axis: ArrayLike<number>, value: number): number {
  let [low, high] = [0, Math.max(axis.length - 2, 0)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (axis[middle]! <= value) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low + (value - axis[low]!) / (valueAt(axis, low + 1) - axis[low]! || 1);
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
