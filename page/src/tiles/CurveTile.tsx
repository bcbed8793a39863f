// A curve of a point: its spectrum with the fit and the lines of the elements, its diffractogram, or another array.

import { useEffect, useMemo } from "react";

import type { Arrays } from "../arrays";
import { useChosen } from "../chosen";
import { channelAt, figure, labelled, valueAt } from "../curves";
import { useLive } from "../live";
import { useCurve, usePoint, type CurveHeader } from "../measured";
import type { Curve, Look } from "../plot/look";
import { Plot } from "../plot/Plot";
import { PointPicker } from "../PointPicker";
import type { Kind, Region, Shape } from "../regions";
import { isBad } from "../useMatched";
import { useRegions } from "../useRegions";
import { useRegionTools, type Scaled } from "../useRegionTools";
import type { TileProps } from "./tile";

export interface CurveOptions {
  /** The id of the curve. */
  curve: string;
  isLog: boolean;
}

/** How the lines with these names are drawn, and in which colour; the others are lines of the other colours. */
const LOOKS: Record<string, [Look, number]> = {
  measured: ["filled", 7],
  fit: ["bold", 1],
  background: ["dashed", 0],
};
/** The unit of ranges whose ends are numbers of channels, whatever axis the curve is drawn over. */
const CHANNEL = "channel";
const RANGES: Kind[] = ["range"];
const OTHERS = [2, 3, 5, 6, 4, 0];

export function CurveTile({ options, setOptions, describe }: TileProps<CurveOptions>) {
  const { point: chosen, of } = useChosen();
  const run = useLive((live) => live.run);
  const point = usePoint(chosen, of);
  const curves = point.data?.curves ?? [];
  const about = curves.find(({ id }) => id === options.curve) ?? curves[0];
  const { data, error } = useCurve(chosen, about?.id ?? null, of);
  const regions = useRegions(about?.id.slice(about.stage.length + 1)); // an id is STAGE/KEY
  const tools = useRegionTools(regions, RANGES, data && scaledBy(data, regions?.unit !== CHANNEL));
  const lines = useMemo(() => (data ? linesOf(data) : []), [data]);
  const x = data?.arrays["x"]?.values;
  const title = data?.header.label ?? about?.label ?? "Curve";

  useEffect(() => {
    const table = (): Record<string, ArrayLike<unknown>> =>
      Object.fromEntries(Object.entries(data?.arrays ?? {}).map(([name, { values }]) => [name, values]));
    describe({ title, table: data && table });
  }, [title, data, describe]);
  if (!data || !x || !about) {
    return (
      <p className="empty">
        {run !== null
          ? reasonOf(point.error ?? error, about !== undefined)
          : "The spectrum or the diffractogram of a point is shown here when a scan has begun."}
      </p>
    );
  }
  const isLog = options.isLog ?? data.header.log;
  return (
    <div className={data?.header.uid === (of ?? run) ? "point-tile" : "point-tile stale"}>
      <div className="tools">
        <PointPicker shown={data.header.seq_num} />
        {curves.length > 1 && (
          <label>
            <span className="hidden">which curve</span>
            <select
              className="brief"
              title={title}
              value={about.id}
              onChange={({ target }) => setOptions({ curve: target.value })}
            >
              {curves.map(({ id, label }) => (
                <option key={id} value={id}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        )}
        <label>
          <input type="checkbox" checked={isLog} onChange={({ target }) => setOptions({ isLog: target.checked })} />
          <span>logarithmic</span>
        </label>
      </div>
      {isBad(error) && <p className="bad note">{error?.message}</p>}
      <Plot
        label={`${title} at point ${data.header.seq_num}`}
        x={x}
        xLabel={labelled(data.header.x_label, data.header.x_unit)}
        yLabel={data.header.y_label}
        curves={lines}
        isLog={isLog}
      >
        {tools.layer}
      </Plot>
      {tools.bar}
    </div>
  );
}

/** Each array over x as a curve; an error is the band around that which it belongs to. */
function linesOf({ arrays }: Arrays<CurveHeader>): Curve[] {
  const names = Object.keys(arrays).filter((name) => name !== "x" && !/^error\b/.test(name));
  const isSpectrum = names.includes("measured");
  return names.map((name, number) => {
    const [look, color] = LOOKS[name] ?? ["line", isSpectrum ? OTHERS[(number - 3) % OTHERS.length]! : number];
    const label = names.length === 1 ? name.replace(/ 0$/, "") : name;
    return { label, values: arrays[name]!.values, error: errorOf(arrays, name), look, color };
  });
}

/** How ranges lie on the axis of a curve: as they are, or, where their ends are channels, at those. */
function scaledBy({ header, arrays }: Arrays<CurveHeader>, isOnAxis: boolean): Scaled {
  const x = arrays["x"]!.values;
  const { first_channel: first, x_unit: unit } = header;
  const shown = (range: Region): Region =>
    isOnAxis ? range : { ...range, x: range.x.map((channel) => valueAt(x, channel - first)) };
  const stored = <S extends Shape>(range: S): S =>
    isOnAxis ? range : { ...range, x: range.x.map((value) => first + Math.round(10 * channelAt(x, value)) / 10) };
  return {
    step: Math.abs(valueAt(x, 1) - valueAt(x, 0)),
    shown,
    stored,
    say: (range) => `${shown(range).x.map((value) => figure(value, 4)).join(" to ")} ${unit ?? ""}`,
  };
}

function errorOf(arrays: Arrays["arrays"], name: string): ArrayLike<number> | undefined {
  return name.startsWith("intensity") ? arrays[name.replace(/^intensity/, "error")]?.values : undefined;
}

function reasonOf(error: Error | undefined, isThere: boolean): string {
  return error?.message ?? (isThere ? "…" : "No spectrum, diffractogram or other curve was measured at this point.");
}
