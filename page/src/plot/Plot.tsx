// Curves over one axis, by uPlot: with the colours of the page, zoom along the axis, and a layer for what is drawn on it.

import "uplot/dist/uPlot.min.css";

import { useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import uPlot from "uplot";

import type { Frame } from "../frame";
import { watch } from "./gestures";
import { axis, bandsOf, COLORS, colorsAt, series, type Curve } from "./look";
import { isPart, newer, placeOf, type Place } from "./place";
import { Readout } from "./Readout";
import { aligned, groundOf, padded } from "./rows";

/** Pixels that the mouse may move in a click; farther, it zooms. */
const CLICK = 4;


export interface PlotProps {
  /** What a reader of the screen is told. */
  label: string;
  x: ArrayLike<number>;
  xLabel: string;
  yLabel: string;
  curves: Curve[];
  isLog?: boolean;
  /** Where a line is drawn across. */
  mark?: number;
  /** Called with the place in the curves that is clicked. */
  onPick?: (index: number) => void;
  /** What is drawn above the curves. */
  children?: (frame: Frame) => ReactNode;
}

export function Plot({ label, x, xLabel, yLabel, curves, isLog = false, mark, onPick, children }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const pick = useRef(onPick);
  pick.current = onPick;
  const [frame, setFrame] = useState<Place>();
  const [at, setAt] = useState<number | null>(null);
  const [isZoomed, setIsZoomed] = useState(false);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const ground = useRef<number>();
  const data = useMemo(() => {
    ground.current = isLog && curves[0] ? groundOf(curves[0].values) : undefined;
    return aligned(x, curves, ground.current);
  }, [x, curves, isLog]);
  const kind = JSON.stringify([curves.map(({ label, look, error, color }) => [label, look, !error, color]), isLog]);

  useEffect(() => {
    const element = place.current!;
    const { clientWidth: width, clientHeight: height } = element;
    const colors = colorsAt(element);
    const made = new uPlot(
      {
        width: Math.max(width, 50),
        height: Math.max(height, 50),
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false, dist: CLICK }, points: { size: 7 } },
        scales: { x: { time: false }, y: { distr: isLog ? 3 : 1, range: (_, least, greatest) => padded(least, greatest, ground.current) } },
        padding: [10, 14, 0, 0],
        axes: [
          { ...axis(xLabel, colors), size: 26, space: 70 },
          {
            ...axis(yLabel, colors),
            size: (_, values) => 18 + 7.5 * Math.max(3, ...(values ?? []).map((one) => one.length)),
            space: 30,
          },
        ],
        series: [{}, ...curves.flatMap((one, number) => series(one, number, colors))],
        bands: bandsOf(curves, colors),
        hooks: {
          draw: [(made) => setFrame((before) => newer(before, placeOf(made)))],
          setCursor: [({ cursor }) => setAt(cursor.idx ?? null)],
          setScale: [(made, key) => key === "x" && setIsZoomed(isPart(made))],
        },
      },
      data,
      element,
    );
    plot.current = made;
    made.over.addEventListener("click", () => {
      const { idx } = made.cursor;
      if (idx != null && made.select.width < CLICK) {
        pick.current?.(idx);
      }
    });
    const stop = watch(made, element, colors);
    return () => {
      stop();
      made.destroy();
      plot.current = undefined;
    };
    // it is made anew for other curves, not for other values of theirs
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [kind, xLabel, yLabel]);

  useEffect(() => {
    const made = plot.current;
    if (!made || made.data === data) {
      return;
    }
    const { min, max } = made.scales["x"]!;
    const isKept = isPart(made) && min! < data[0].at(-1)! && max! > data[0][0]!;
    made.batch(() => {
      made.setData(data, !isKept);
      if (isKept) {
        made.setScale("x", { min: min!, max: max! });
      }
    });
  }, [data]);

  useEffect(() => {
    let number = 1;
    for (const { label, error } of curves) {
      for (let end = number + (error ? 3 : 1); number < end; number++) {
        plot.current?.setSeries(number, { show: !hidden.has(label) });
      }
    }
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [hidden, kind]);

  const whole = (): void => plot.current?.setScale("x", { min: data[0][0]!, max: data[0].at(-1)! });
  const turn = (name: string): void =>
    setHidden((before) =>
      before.has(name) ? new Set([...before].filter((one) => one !== name)) : new Set([...before, name]),
    );
  return (
    <figure className="plot" aria-label={label}>
      {curves.length > 1 && (
        <div className="legend">
          {curves.map(({ label, color }, number) => (
            <button
              key={label}
              type="button"
              aria-pressed={!hidden.has(label)}
              title={hidden.has(label) ? `show ${label}` : `hide ${label}`}
              onClick={() => turn(label)}
            >
              <i style={{ background: `var(--curve-${(color ?? number) % COLORS})` }} />
              {label}
            </button>
          ))}
        </div>
      )}
      <div className="curves">
        <div className="drawing" ref={place} />
        {frame && (children || mark !== undefined) && (
          <svg className="above" style={{ left: frame.left, top: frame.top }} width={frame.width} height={frame.height}>
            {mark !== undefined && <path className="mark" d={`M${frame.x[0] + mark * frame.x[1]},0V${frame.height}`} />}
            {children?.(frame)}
          </svg>
        )}
        {isZoomed && (
          <button type="button" className="whole" onClick={whole}>
            Show all
          </button>
        )}
        {frame && at !== null && x[at] !== undefined && <Readout {...{ frame, at, x, xLabel, curves, hidden }} />}
      </div>
    </figure>
  );
}

