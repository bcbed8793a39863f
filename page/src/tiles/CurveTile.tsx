// A curve of a point: its spectrum with the fit and the lines of the elements, its diffractogram, or another array.

import { useEffect, useMemo, useState } from "react";

import type { Arrays } from "../arrays";
import { choose, useChosen } from "../chosen";
import { channelAt, figure, labelled, valueAt } from "../curves";
import { useLive } from "../live";
import { useCurve, usePoint, type CurveHeader } from "../measured";
import type { Curve, Look } from "../plot/look";
import { Plot } from "../plot/Plot";
import { PointPicker } from "../PointPicker";
import { RegionBar } from "../RegionBar";
import { RegionLayer, type Shape } from "../RegionLayer";
import { freeName, type Kind, type Region } from "../regions";
import { isBad } from "../useMatched";
import { useRegions } from "../useRegions";
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
const OTHERS = [2, 3, 5, 6, 4, 0];

export function CurveTile({ options, setOptions, describe }: TileProps<CurveOptions>) {
  const { point: chosen, of, region } = useChosen();
  const run = useLive((live) => live.run);
  const [tool, setTool] = useState<Kind>();
  const point = usePoint(chosen, of);
  const curves = point.data?.curves ?? [];
  const about = curves.find(({ id }) => id === options.curve) ?? curves[0];
  const { data, error } = useCurve(chosen, about?.id ?? null, of);
  const regions = useRegions(about?.id.slice(about.stage.length + 1)); // an id is STAGE/KEY
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
  const isOnAxis = regions?.unit !== CHANNEL;
  const { first_channel: first } = data.header;
  const onAxis = (range: Region): Region =>
    isOnAxis ? range : { ...range, x: range.x.map((channel) => valueAt(x, channel - first)) };
  const fromAxis = <S extends Shape>(range: S): S =>
    isOnAxis ? range : { ...range, x: range.x.map((value) => first + Math.round(10 * channelAt(x, value)) / 10) };
  const ranges = (regions?.regions ?? []).filter(({ type }) => type === "range");
  const finish = (shape: Shape | undefined): void => {
    setTool(undefined);
    if (shape && regions) {
      const name = freeName(regions.regions, "range");
      regions.put(name, { ...fromAxis(shape), name });
      choose({ region: name });
    }
  };
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
        {(frame) =>
          regions && (
            <RegionLayer
              frame={frame}
              regions={ranges.map(onAxis)}
              tool={tool}
              chosen={region ?? undefined}
              step={Math.abs(valueAt(x, 1) - valueAt(x, 0))}
              onChoose={(name) => choose({ region: name ?? null })}
              onChange={
                regions.readOnly ? undefined : (name, changed) => regions.put(name, changed && fromAxis(changed))
              }
              onDrawn={finish}
            />
          )
        }
      </Plot>
      {regions?.kinds.includes("range") && (
        <RegionBar
          kinds={["range"]}
          regions={ranges}
          tool={tool}
          chosen={region ?? undefined}
          readOnly={regions.readOnly}
          reason={regions.reason}
          say={(range) =>
            `${onAxis(range)
              .x.map((value) => figure(value, 4))
              .join(" to ")} ${data.header.x_unit ?? ""}`
          }
          onTool={setTool}
          onChoose={(name) => choose({ region: name ?? null })}
          onChange={(name, changed) => {
            regions.put(name, changed);
            choose({ region: changed?.name ?? null });
          }}
          onUndo={regions.undo}
        />
      )}
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

function errorOf(arrays: Arrays["arrays"], name: string): ArrayLike<number> | undefined {
  return name.startsWith("intensity") ? arrays[name.replace(/^intensity/, "error")]?.values : undefined;
}

function reasonOf(error: Error | undefined, isThere: boolean): string {
  return error?.message ?? (isThere ? "…" : "No spectrum, diffractogram or other curve was measured at this point.");
}
