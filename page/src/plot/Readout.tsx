// The values of curves under the cursor.

import { figure } from "../curves";
import { COLORS, type Curve } from "./look";
import type { Place } from "./place";

/** The values of so many curves are told; of more those that amount to something where the cursor is. */
const FIRST = 3;

export interface ReadoutProps {
  x: ArrayLike<number>;
  xLabel: string;
  curves: Curve[];
  frame: Place;
  at: number;
  hidden: ReadonlySet<string>;
}

/** The values under the cursor, on that side of it where there is room. */
export function Readout({ frame, at, x, xLabel, curves, hidden }: ReadoutProps) {
  const place = frame.x[0] + x[at]! * frame.x[1];
  const largest = Math.max(...curves.map(({ values }) => Math.abs(values[at] ?? 0)));
  const isLeft = place > frame.width / 2;
  const side = isLeft ? { right: `calc(100% - ${frame.left + place - 12}px)` } : { left: frame.left + place + 12 };
  return (
    <div className="readout" style={{ top: frame.top + 4, ...side }}>
      <div>
        {xLabel} <b>{figure(x[at]!)}</b>
      </div>
      {curves.map(
        ({ label, values, color }, number) =>
          !hidden.has(label) &&
          (number < FIRST || Math.abs(values[at] ?? 0) > 1e-3 * largest) && (
            <div key={label}>
              <i style={{ background: `var(--curve-${(color ?? number) % COLORS})` }} />
              {label} <b>{valueAt(values, at, largest)}</b>
            </div>
          ),
      )}
    </div>
  );
}

/** A value in three digits; beside so much larger ones it is nothing. */
function valueAt(values: ArrayLike<number | null>, at: number, largest: number): string {
  const value = values[at];
  if (value === null || value === undefined) {
    return "–";
  }
  return figure(Math.abs(value) < 1e-6 * largest ? 0 : value, 3);
}

