// A map as a picture: pixels of a grid, their colours of three maps, or scattered points.

import { HeatmapVis, RgbVis, ScatterVis, type ColorScaleType, type Domain } from "@h5web/lib";
import { useMemo, useState, type ReactNode } from "react";

import { figure, labelled } from "../curves";
import { nearestPoint, pixelAt, stepOf, type Grid, type Pair, type Points } from "../maps";
import ndarray from "../ndarray";
import type { Shade } from "../shade";
import { MapOverlay, type MapOverlayProps } from "./MapOverlay";

export interface MapViewProps extends Omit<MapOverlayProps, "marks" | "onClick" | "onHover"> {
  shown: Grid | Points;
  /** Red, green and blue of each pixel; else its value gives its colour. */
  rgb?: Uint8Array;
  shade: Shade;
  domain: Domain | undefined;
  /** Whether a length is as long along both axes. */
  isEqual: boolean;
  chosen: number | null;
  latest: number | null;
  onChoose: (seqNum: number) => void;
}

export function MapView({ shown, rgb, shade, domain, isEqual, chosen, latest, onChoose, ...overlay }: MapViewProps) {
  const [hover, setHover] = useState<number | null>(null);
  const isGrid = "nx" in shown;
  const scale = useMemo<Pair>(() => (isGrid ? [1, 1] : [extent(shown.x), extent(shown.y ?? [])]), [shown, isGrid]);
  const indexAt = (at: Pair): number | undefined =>
    isGrid ? pixelAt(shown, at) : nearestPoint(shown, at, scale);
  const choose = (at: Pair): void => {
    const index = indexAt(at);
    const seqNum = index === undefined ? undefined : shown.seqNums?.[index];
    if (seqNum !== undefined && seqNum > 0) {
      onChoose(seqNum);
    }
  };
  const size: Pair = isGrid ? [stepOf(shown.x), stepOf(shown.y)] : [0, 0];
  const markOf = (index: number | undefined, kind: "chosen" | "latest" | "hover") =>
    index === undefined || index < 0 ? [] : [{ at: positionOf(shown, index), size, kind }];
  const marks = [
    ...markOf(latest === null ? undefined : indexOf(shown, latest), "latest"),
    ...markOf(chosen === null ? undefined : indexOf(shown, chosen), "chosen"),
    ...markOf(hover ?? undefined, "hover"),
  ];
  return (
    <>
      <Picture shown={shown} rgb={rgb} shade={shade} domain={domain} isEqual={isEqual} isStill={overlay.tool !== "point"}>
        <MapOverlay {...overlay} marks={marks} onClick={choose} onHover={(at) => setHover(at && (indexAt(at) ?? null))} />
      </Picture>
      <p className="reading" data-testid="reading">
        <Reading shown={shown} index={hover} latest={latest} chosen={chosen} />
      </p>
    </>
  );
}

type PictureProps = Pick<MapViewProps, "shown" | "rgb" | "shade" | "domain" | "isEqual"> & {
  isStill: boolean;
  children: ReactNode;
};

function Picture({ shown, rgb, shade, domain, isEqual, isStill, children }: PictureProps) {
  const { colorMap, scale } = shade;
  const interactions = { pan: isStill ? (false as const) : {}, xAxisZoom: false as const, yAxisZoom: false as const };
  const values = useMemo(() => {
    if (rgb && "nx" in shown) {
      return ndarray(rgb, [shown.ny, shown.nx, 3]);
    }
    return ndarray(shown.values as never, "nx" in shown ? [shown.ny, shown.nx] : [shown.values.length]);
  }, [shown, rgb]) as never;
  const xParams = { label: labelled(shown.xAxis.name, shown.xAxis.unit), value: shown.x as number[] };
  const yParams = { label: shown.yAxis && labelled(shown.yAxis.name, shown.yAxis.unit), value: shown.y as number[] };
  const aspect = isEqual ? ("equal" as const) : ("auto" as const);
  if (!("nx" in shown)) {
    return (
      <ScatterVis
        className="picture"
        dataArray={values}
        domain={domain ?? [0, 1]}
        colorMap={colorMap}
        scaleType={scale as ColorScaleType}
        abscissaParams={xParams}
        ordinateParams={yParams}
        size={Math.max(4, Math.min(18, 420 / Math.sqrt(shown.values.length)))}
        interactions={interactions}
        showGrid={false}
      >
        {children}
      </ScatterVis>
    );
  }
  const params = { abscissaParams: xParams, ordinateParams: yParams, aspect, interactions, className: "picture" };
  return rgb ? (
    <RgbVis dataArray={values} {...params}>
      {children}
    </RgbVis>
  ) : (
    <HeatmapVis dataArray={values} domain={domain} colorMap={colorMap} scaleType={scale as ColorScaleType} {...params}>
      {children}
    </HeatmapVis>
  );
}

/** Where the mouse is, or the chosen point, or else the latest one: its position, its value and its number. */
function Reading({ shown, index, latest, chosen }: { shown: Grid | Points; index: number | null; latest: number | null; chosen: number | null }) { // prettier-ignore
  const seq = chosen ?? latest;
  const at = index ?? (seq === null ? undefined : indexOf(shown, seq));
  if (at === undefined || at < 0 || at >= shown.values.length) {
    return <>move over the map to read it; click to see what was measured there</>;
  }
  const [x, y] = positionOf(shown, at);
  const { xAxis, yAxis, unit, seqNums } = shown;
  const number = seqNums?.[at];
  const value = shown.values[at]!;
  return (
    <>
      <span>
        {xAxis.name} <b>{figure(x)}</b> {xAxis.unit}
      </span>
      {yAxis && (
        <span>
          {yAxis.name} <b>{figure(y)}</b> {yAxis.unit}
        </span>
      )}
      <span>
        value <b>{Number.isNaN(value) ? "none" : figure(value)}</b> {Number.isNaN(value) ? "" : unit}
      </span>
      <span>{number !== undefined && number > 0 ? <>point {number}</> : "not measured"}</span>
      <span className="about">{index === null ? (chosen === null ? "latest" : "chosen") : ""}</span>
    </>
  );
}

export function positionOf(shown: Grid | Points, index: number): Pair {
  return "nx" in shown
    ? [shown.x[index % shown.nx]!, shown.y[Math.floor(index / shown.nx)]!]
    : [shown.x[index]!, shown.y?.[index] ?? 0];
}

export function indexOf({ seqNums }: Grid | Points, seqNum: number): number | undefined {
  if (!seqNums) {
    return undefined;
  }
  if (seqNums[seqNum - 1] === seqNum) {
    return seqNum - 1; // as most scans are
  }
  const index = Array.prototype.indexOf.call(seqNums, seqNum);
  return index < 0 ? undefined : index;
}

function extent(values: ArrayLike<number>): number {
  let [least, greatest] = [Infinity, -Infinity];
  for (let at = 0; at < values.length; at++) {
    least = Math.min(least, values[at]!);
    greatest = Math.max(greatest, values[at]!);
  }
  return greatest > least ? greatest - least : 1;
}
