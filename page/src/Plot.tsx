// Curves over one axis, by uPlot: with the colours of the page, zoom along the axis, and a layer for what is drawn on it.

import "uplot/dist/uPlot.min.css";

import { useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import uPlot from "uplot";

import { figure } from "./curves";
import { frameOf, isSame, type Frame } from "./frame";

/** Where the curves are, and how far in the drawing that is. */
type Place = Frame & { left: number; top: number };

export type Look = "line" | "bold" | "filled" | "dashed" | "dots";

export interface Curve {
  label: string;
  values: ArrayLike<number | null>;
  /** How large the band around it is; only where it is known. */
  error?: ArrayLike<number>;
  look?: Look;
  /** Which of the colours of curves; else its place among them. */
  color?: number;
}

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

/** How many colours of curves there are (--curve-0 ...). */
export const COLORS = 8;
/** The values of so many curves are told; of more those that amount to something where the cursor is. */
const FIRST = 3;
/** Pixels along which one drags to zoom. */
const CLICK = 4;
/** Widths of lines, in pixels of the screen. */
const WIDTHS: Record<Look, number> = { line: 1.5, bold: 2, filled: 1, dashed: 1.25, dots: 0 };
const AXIS = { font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 20 };

export function Plot({ label, x, xLabel, yLabel, curves, isLog = false, mark, onPick, children }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const pick = useRef(onPick);
  pick.current = onPick;
  const [frame, setFrame] = useState<Place>();
  const [at, setAt] = useState<number | null>(null);
  const [isZoomed, setIsZoomed] = useState(false);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const data = useMemo(() => aligned(x, curves, isLog), [x, curves, isLog]);
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
        scales: { x: { time: false }, y: { distr: isLog ? 3 : 1, range: isLog ? undefined : padded } },
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

interface ReadoutProps extends Pick<PlotProps, "x" | "xLabel" | "curves"> {
  frame: Place;
  at: number;
  hidden: ReadonlySet<string>;
}

/** The values under the cursor, on that side of it where there is room. */
function Readout({ frame, at, x, xLabel, curves, hidden }: ReadoutProps) {
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

/** The rows of numbers that uPlot draws: with a logarithm what has none lies on the ground of the first curve. */
function aligned(x: ArrayLike<number>, curves: Curve[], isLog: boolean): uPlot.AlignedData {
  const ground = isLog && curves[0] ? groundOf(curves[0].values) : undefined;
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

/** Half of the least number that has a logarithm. */
function groundOf(values: ArrayLike<number | null>): number {
  let least = Infinity;
  for (let at = 0; at < values.length; at++) {
    const value = values[at]!;
    least = value > 0 && value < least ? value : least;
  }
  return least === Infinity ? 0.5 : least / 2;
}

function series({ look = "line", error, color }: Curve, number: number, colors: Colors): uPlot.Series[] {
  const stroke = (): string => colors.curves[(color ?? number) % COLORS]!;
  const isDots = look === "dots";
  const line: uPlot.Series = {
    stroke,
    width: WIDTHS[look],
    dash: look === "dashed" ? [5, 4] : undefined,
    fill: look === "filled" ? () => faint(stroke()) : undefined,
    paths: isDots ? () => null : undefined,
    points: isDots ? { show: true, size: 5, stroke, fill: stroke } : { show: false },
  };
  return error ? [line, { points: { show: false } }, { points: { show: false } }] : [line];
}

function bandsOf(curves: Curve[], colors: Colors): uPlot.Band[] {
  let number = 1;
  return curves.flatMap(({ error, color }, at) => {
    const first = number;
    number += error ? 3 : 1;
    const fill = (): string => faint(colors.curves[(color ?? at) % COLORS]!);
    return error ? [{ series: [first + 1, first + 2] as [number, number], fill }] : [];
  });
}

function axis(label: string, colors: Colors): uPlot.Axis {
  return {
    ...AXIS,
    label,
    stroke: () => colors.text,
    grid: { stroke: () => colors.grid, width: 1 },
    ticks: { stroke: () => colors.grid, width: 1, size: 5 },
    values: (_, splits) => splits.map((value) => (value === null ? "" : figure(value))),
  };
}

function padded(_: uPlot, least: number | null, greatest: number | null): uPlot.Range.MinMax {
  if (least === null || greatest === null) {
    return [0, 1];
  }
  const margin = 0.05 * (greatest - least) || 0.5;
  return [least >= 0 && least < margin ? 0 : least - margin, greatest + margin];
}

/** Whether the axis shows a part of what there is. */
function isPart({ data, scales }: uPlot): boolean {
  const { min, max } = scales["x"]!;
  return min != null && max != null && (min > data[0][0]! || max < data[0].at(-1)!);
}

function placeOf(made: uPlot): Place {
  const [left, top, width, height] = [made.bbox.left, made.bbox.top, made.bbox.width, made.bbox.height].map((length) =>
    Math.max(0, length / uPlot.pxRatio),
  ) as [number, number, number, number];
  const { min, max } = made.scales["x"]!;
  const ends: [number, number] = [min ?? 0, max ?? 1];
  const frame = frameOf([[ends[0], 0], [ends[1], 1]], [[0, height], [width, 0]], width, height); // prettier-ignore
  return { ...frame, left, top };
}

function newer(before: Place | undefined, now: Place): Place {
  return before && isSame(before, now) && before.left === now.left && before.top === now.top ? before : now;
}

/** Follow the size of the element, the wheel above the curves, and light or dark. */
function watch(made: uPlot, element: HTMLElement, colors: Colors): () => void {
  const sizes = new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = element;
    if (width > 0 && height > 0 && (width !== made.width || height !== made.height)) {
      made.setSize({ width, height });
    }
  });
  sizes.observe(element);
  const zoom = (event: WheelEvent): void => {
    event.preventDefault();
    const { min, max } = made.scales["x"]!;
    const middle = made.posToVal(event.clientX - made.over.getBoundingClientRect().left, "x");
    const by = event.deltaY < 0 ? 0.85 : 1 / 0.85;
    const [first, last] = [made.data[0][0]!, made.data[0].at(-1)!];
    const [from, to] = [middle - (middle - min!) * by, middle + (max! - middle) * by];
    made.setScale("x", { min: Math.max(first, from), max: Math.min(last, to) });
  };
  made.over.addEventListener("wheel", zoom, { passive: false });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = (): void => {
    Object.assign(colors, colorsAt(element));
    made.redraw(false);
  };
  dark.addEventListener("change", redraw);
  const theme = new MutationObserver(redraw);
  theme.observe(document.documentElement, { attributes: true });
  return () => {
    sizes.disconnect();
    theme.disconnect();
    dark.removeEventListener("change", redraw);
  };
}

/** A value in three digits; beside so much larger ones it is nothing. */
function valueAt(values: ArrayLike<number | null>, at: number, largest: number): string {
  const value = values[at];
  if (value === null || value === undefined) {
    return "–";
  }
  return figure(Math.abs(value) < 1e-6 * largest ? 0 : value, 3);
}

interface Colors {
  text: string;
  grid: string;
  curves: string[];
}

/** The colours of the page at an element, light or dark. */
function colorsAt(element: HTMLElement): Colors {
  const probe = element.appendChild(document.createElement("i"));
  const colorOf = (name: string): string => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const curves = Array.from({ length: COLORS }, (_, number) => colorOf(`--curve-${number}`));
  const colors = { text: colorOf("--text"), grid: colorOf("--grid"), curves };
  probe.remove();
  return colors;
}

function faint(color: string): string {
  return color.replace(/^rgb\((.*)\)$/, "rgba($1, 0.2)");
}
