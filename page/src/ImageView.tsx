// An image at its full resolution, with zoom, the peaks found on it, and its regions.

import {
  DefaultInteractions,
  ResetZoomButton,
  TooltipMesh,
  useCameraState,
  useVisCanvasContext,
  VisCanvas,
  type ColorScaleType,
} from "@h5web/lib";
import ndarray from "ndarray";
import { useLayoutEffect, useMemo, useState, type ReactNode } from "react";
import { createPortal } from "react-dom";
import { Vector3 } from "three";

import type { NamedArray } from "./arrays";
import { ColorScale } from "./ColorScale";
import { figure } from "./curves";
import { frameOf, isSame, toScreen, type Frame } from "./frame";
import { Heatmap } from "./Heatmap";
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
    () => ndarray(values instanceof Float32Array ? values : new Float32Array(values), [rows, columns]),
    [values, rows, columns],
  );
  const { scale, low, high, colorMap } = shade;
  const domain = useMemo(() => domainOf(values, { scale, low, high }), [values, scale, low, high]);
  const [above, setAbove] = useState<Above>();
  // WebGL draws anew whenever anything in its canvas is rendered: nothing is unless it looks otherwise.
  const canvas = useMemo(
    () => (
      <VisCanvas
        aspect="equal"
        abscissaConfig={{ visDomain: [-0.5, columns - 0.5], formatTick: pixel }}
        ordinateConfig={{ visDomain: [-0.5, rows - 0.5], formatTick: pixel, flip: true }}
      >
        <DefaultInteractions {...(isDrawing ? { pan: false, selectToZoom: false } : {})} />
        <ResetZoomButton />
        <TooltipMesh
          guides="both"
          renderTooltip={(x, y) => {
            const [column, row] = [Math.round(x), Math.round(y)];
            return (
              <>
                x {column}, y {row}
                <strong className="value">{figure(values[row * columns + column] ?? NaN)}</strong>
              </>
            );
          }}
        />
        <Heatmap
          values={texture}
          domain={domain ?? [0, 1]}
          colorMap={colorMap}
          scaleType={scale as ColorScaleType}
          scale={[1, -1, 1]}
        />
        <Camera rows={rows} columns={columns} onMove={setAbove} />
      </VisCanvas>
    ),
    [texture, values, domain, colorMap, scale, isDrawing, rows, columns],
  );
  return (
    <div className="image" role="group" aria-label={label}>
      {canvas}
      {above &&
        createPortal(
          <>
            <Peaks frame={above.frame} peaks={peaks} />
            {children(above.frame)}
          </>,
          above.overlay,
        )}
      {domain ? <ColorScale domain={domain} shade={shade} /> : <p className="empty">No pixel of it has a value.</p>}
    </div>
  );
}

/** The number of a pixel, which is whole. */
function pixel(value: number | { valueOf: () => number }): string {
  return Number.isInteger(Number(value)) ? String(value) : "";
}

/** What lies above the canvas, and where the camera is. */
interface Above {
  overlay: SVGSVGElement;
  frame: Frame;
}

/** Tells where the camera is. */
function Camera({ rows, columns, onMove }: { rows: number; columns: number; onMove: (above: Above) => void }) {
  const { dataToHtml, canvasSize, svgOverlay } = useVisCanvasContext();
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
  useLayoutEffect(() => {
    if (svgOverlay) {
      onMove({ overlay: svgOverlay, frame });
    }
  }, [svgOverlay, frame, onMove]);
  return null;
}

function Peaks({ frame, peaks }: { frame: Frame; peaks: Peak[] }) {
  const seen = peaks
    .map((peak) => ({ ...peak, place: toScreen(frame, [peak.x, peak.y]) }))
    .filter(({ place: [x, y] }) => x > -RADIUS && y > -RADIUS && x < frame.width + RADIUS && y < frame.height + RADIUS);
  const circles = seen
    .map(
      ({ place: [x, y] }) =>
        `M${x - RADIUS},${y}a${RADIUS},${RADIUS} 0 1,0 ${2 * RADIUS},0a${RADIUS},${RADIUS} 0 1,0 ${-2 * RADIUS},0`,
    )
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
