// How curves look: what is handed to uPlot of them, in the colours of the page.

import uPlot from "uplot";

import { figure } from "../curves";

export type Look = "line" | "bold" | "filled" | "dashed" | "dots" | "bars";

export interface Curve {
  label: string;
  values: ArrayLike<number | null>;
  /** How large the band around it is; only where it is known. */
  error?: ArrayLike<number>;
  look?: Look;
  /** Which of the colours of curves; else its place among them. */
  color?: number;
}

/** How many colours of curves there are (--curve-0 ...). */
export const COLORS = 8;
/** Widths of lines, in pixels of the screen. */
const WIDTHS: Record<Look, number> = { line: 1.5, bold: 2, filled: 1, dashed: 1.25, dots: 0, bars: 1 };
const AXIS = { font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 20 };

export function series({ look = "line", error, color }: Curve, number: number, colors: Colors): uPlot.Series[] {
  const stroke = (): string => colors.curves[(color ?? number) % COLORS]!;
  const isDots = look === "dots";
  const line: uPlot.Series = {
    stroke,
    width: WIDTHS[look],
    dash: look === "dashed" ? [5, 4] : undefined,
    fill: look === "filled" || look === "bars" ? () => faint(stroke()) : undefined,
    paths: isDots ? () => null : look === "bars" ? uPlot.paths.bars!({ size: [1, Infinity] }) : undefined,
    points: isDots ? { show: true, size: 5, stroke, fill: stroke } : { show: false },
  };
  return error ? [line, { points: { show: false } }, { points: { show: false } }] : [line];
}

export function bandsOf(curves: Curve[], colors: Colors): uPlot.Band[] {
  let number = 1;
  return curves.flatMap(({ error, color }, at) => {
    const first = number;
    number += error ? 3 : 1;
    const fill = (): string => faint(colors.curves[(color ?? at) % COLORS]!);
    return error ? [{ series: [first + 1, first + 2] as [number, number], fill }] : [];
  });
}

export function axis(label: string, colors: Colors): uPlot.Axis {
  return {
    ...AXIS,
    label,
    stroke: () => colors.text,
    grid: { stroke: () => colors.grid, width: 1 },
    ticks: { stroke: () => colors.grid, width: 1, size: 5 },
    values: (_, splits) => splits.map((value) => (value === null ? "" : figure(value))),
  };
}

export interface Colors {
  text: string;
  grid: string;
  curves: string[];
}

/** The colours of the page at an element, light or dark. */
export function colorsAt(element: HTMLElement): Colors {
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
