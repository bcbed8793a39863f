// An image at its full resolution, with zoom, the peaks found on it, and its regions.

import { HeatmapVis, SvgElement, useCameraState, useVisCanvasContext, type ColorScaleType } from "@h5web/lib";
import ndarray from "ndarray";
import { useMemo, type ReactNode } from "react";
import { Vector3 } from "three";

import type { NamedArray } from "./arrays";
import { figure } from "./curves";
import { frameOf, isSame, toScreen, type Frame } from "./frame";
import type { Point } from "./regions";
import { domainOf, type Shade } from "./shade";

export interface Peak {
  /** Its number, or that of its track. */
  number: number;
  x: number;
  y: number;
  about: string;
}

export interface ImageViewProps {
  label: string;
  image: NamedArray;
  shade: Shade;
  peaks: Peak[];
  /** Whether one finger or the left button draws instead of moving the image. */
  isDrawing: boolean;
  children: (frame: Frame) => ReactNode;
}

/** Pixels of the screen: the circle around a peak; of more peaks only the first are numbered. */
const RADIUS = 9;
const NUMBERED = 300;

export function ImageView({ label, image, shade, peaks, isDrawing, children }: ImageViewProps) {
  const { values, shape } = image;
  const [rows = 0, columns = 0] = shape;
  const texture = useMemo(
    () => ndarray(values instanceof Float32Array ? values : Float32Array.from(values), [rows, columns]),
    [values, rows, columns],
  );
  const { scale, low, high, colorMap } = shade;
  const domain = useMemo(() => domainOf(values, { scale, low, high }), [values, scale, low, high]);
  const [x, y] = useMemo(() => [edges(columns), edges(rows)], [columns, rows]);
  return (
    <HeatmapVis
      className="image"
      title={label}
      dataArray={texture}
      domain={domain}
      colorMap={colorMap}
      scaleType={scale as ColorScaleType}
      aspect="equal"
      flipYAxis
      abscissaParams={x}
      ordinateParams={y}
      interactions={isDrawing ? { pan: false, selectToZoom: false } : undefined}
      renderTooltip={({ xi, yi }) => (
        <>
          x {xi}, y {yi}
          <strong className="value">{figure(values[yi * columns + xi] ?? NaN)}</strong>
        </>
      )}
    >
      <Layer size={shape}>
        {(frame) => (
          <>
            <Peaks frame={frame} peaks={peaks} />
            {children(frame)}
          </>
        )}
      </Layer>
    </HeatmapVis>
  );
}

/** What is drawn above the image, where the camera is. */
function Layer({ size, children }: { size: number[]; children: (frame: Frame) => ReactNode }) {
  const { dataToHtml, canvasSize } = useVisCanvasContext();
  const [rows = 1, columns = 1] = size;
  const frame = useCameraState(
    (camera) => {
      const ends: [Point, Point] = [
        [0, 0],
        [columns, rows],
      ];
      const places = ends.map(([x, y]) => dataToHtml(camera, new Vector3(x, y))).map(({ x, y }): Point => [x, y]);
      return frameOf(ends, places as [Point, Point], canvasSize.width, canvasSize.height);
    },
    [dataToHtml, canvasSize, rows, columns],
    isSame,
  );
  return <SvgElement>{children(frame)}</SvgElement>;
}

function Peaks({ frame, peaks }: { frame: Frame; peaks: Peak[] }) {
  const seen = peaks
    .map((peak) => ({ ...peak, place: toScreen(frame, [peak.x, peak.y]) }))
    .filter(({ place: [x, y] }) => x > -RADIUS && y > -RADIUS && x < frame.width + RADIUS && y < frame.height + RADIUS);
  const circles = seen
    .map(({ place: [x, y] }) => `M${x - RADIUS},${y}a${RADIUS},${RADIUS} 0 1,0 ${2 * RADIUS},0a${RADIUS},${RADIUS} 0 1,0 ${-2 * RADIUS},0`)
    .join("");
  return (
    <g className="peaks" data-count={peaks.length} role="img" aria-label={`${peaks.length} peaks`}>
      <path className="casing" d={circles} />
      <path className="circles" d={circles} />
      {seen.slice(0, NUMBERED).map(({ number, about, place: [x, y] }) => (
        <text key={number} x={x + RADIUS} y={y - RADIUS + 2}>
          {number}
          <title>{about}</title>
        </text>
      ))}
    </g>
  );
}

/** The edges of pixels whose centres are at whole numbers. */
function edges(length: number): { value: Float64Array } {
  return { value: Float64Array.from({ length: length + 1 }, (_, index) => index - 0.5) };
}
