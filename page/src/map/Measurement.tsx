// What a line or a rectangle drawn on a map says: the profile along it, or how the values in it are distributed.

import { useMemo } from "react";
import { MdClose } from "react-icons/md";

import { figure, labelled } from "../curves";
import { histogramOf, profileOf, statisticsOf, valuesIn, type Grid, type Pair, type Points } from "../maps";
import { Plot } from "../plot/Plot";
import type { Tool } from "./MapOverlay";

/** Bins of a histogram. */
const [LEAST_BINS, MOST_BINS] = [5, 40];

export interface MeasurementProps {
  shown: Grid | Points;
  tool: Tool;
  drawn: [Pair, Pair];
  onClose: () => void;
}

export function Measurement({ shown, tool, drawn, onClose }: MeasurementProps) {
  const isLine = tool === "line" && "nx" in shown;
  return (
    <section className="measurement" aria-label={isLine ? "profile along the line" : "values in the rectangle"}>
      <button type="button" className="icon" aria-label="close" data-unseen onClick={onClose}>
        <MdClose />
      </button>
      {isLine ? <Profile grid={shown} drawn={drawn} /> : <Distribution shown={shown} drawn={drawn} />}
    </section>
  );
}

function Profile({ grid, drawn }: { grid: Grid; drawn: [Pair, Pair] }) {
  const { distance, values } = useMemo(() => profileOf(grid, drawn), [grid, drawn]);
  const curves = useMemo(() => [{ label: grid.label, values }], [grid.label, values]);
  return (
    <Plot
      label={`profile of ${grid.label}`}
      x={distance}
      xLabel={labelled("along the line", grid.xAxis.unit)}
      yLabel={labelled("value", grid.unit)}
      curves={curves}
    />
  );
}

function Distribution({ shown, drawn }: { shown: Grid | Points; drawn: [Pair, Pair] }) {
  const values = useMemo(() => valuesIn(shown, drawn), [shown, drawn]);
  const { count, missing, mean, deviation, smallest, largest, sum } = useMemo(() => statisticsOf(values), [values]);
  const bins = Math.max(LEAST_BINS, Math.min(MOST_BINS, Math.round(2 * Math.sqrt(values.length))));
  const { middles, counts } = useMemo(() => framed(histogramOf(values, bins)), [values, bins]);
  const curves = useMemo(() => [{ label: "pixels", values: counts, look: "bars" as const }], [counts]);
  const unit = shown.unit ?? "";
  if (count === 0) {
    return <p className="empty">No value in this rectangle: draw another one.</p>;
  }
  return (
    <>
      <dl className="statistics" data-testid="statistics">
        <Term name="mean" value={`${figure(mean)} ${unit}`} />
        <Term name="std" value={`${figure(deviation)} ${unit}`} />
        <Term name="min" value={figure(smallest)} />
        <Term name="max" value={figure(largest)} />
        <Term name="sum" value={figure(sum)} />
        <Term name="pixels" value={missing ? `${count} (${missing} without value)` : String(count)} />
      </dl>
      <Plot
        label={`histogram of ${shown.label}`}
        x={middles}
        xLabel={labelled("value", shown.unit)}
        yLabel="pixels"
        curves={curves}
      />
    </>
  );
}

/** A histogram with an empty bin at either end, so that its bars are whole. */
function framed({ middles, counts }: ReturnType<typeof histogramOf>): ReturnType<typeof histogramOf> {
  const [first = 0, last = 0] = [middles[0], middles.at(-1)];
  const width = (last - first) / (middles.length - 1) || 1;
  return {
    middles: Float64Array.of(first - width, ...middles, last + width),
    counts: Float64Array.of(0, ...counts, 0),
  };
}

function Term({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
