// A map as a picture: pixels of a grid, colours of three maps, or scattered points, over axes with units.

import { DefaultInteractions, ResetZoomButton, ScatterPoints, VisCanvas } from "@h5web/lib";
import { VisMesh, type AxisConfig, type ColorScaleType, type Domain } from "@h5web/lib";
import { useEffect, useMemo, type ReactNode } from "react";
import { DataTexture, SRGBColorSpace } from "three";

import { ColorScale } from "../ColorScale";
import { figure, labelled } from "../curves";
import { Heatmap } from "../Heatmap";
import { stepOf, type Grid, type Points } from "../maps";
import ndarray from "../ndarray";
import type { Quantity } from "../server";
import type { Shade } from "../shade";

export interface PictureProps {
  shown: Grid | Points;
  /** Red, green, blue and opacity of each pixel; else its value gives its colour. */
  rgb?: Uint8Array;
  shade: Shade;
  domain: Domain | undefined;
  /** Whether a length is as long along both axes. */
  isEqual: boolean;
  /** Whether it does not move with the mouse. */
  isStill: boolean;
  children: ReactNode;
}

/** Pixels that have no value are transparent: their colour is that of the tile. */
const TRANSPARENT = "rgba(0, 0, 0, 0)";
/** Pixels of scattered points: the fewer they are, the larger; their sizes in a picture of so many pixels. */
const [SMALLEST, LARGEST, PICTURE] = [4, 20, 500];
/** The part of their extent that is left around scattered points. */
const AROUND = 0.04;

export function Picture({ shown, rgb, shade, domain = [0, 1], isEqual, isStill, children }: PictureProps) {
  const { colorMap } = shade;
  const scaleType = shade.scale as ColorScaleType;
  const isGrid = "nx" in shown;
  const [x, y] = useMemo(
    () => [config(shown.x, isGrid, shown.xAxis), config(shown.y ?? [], isGrid, shown.yAxis)],
    [shown, isGrid],
  );
  const pixels = useMemo(() => ("nx" in shown ? ndarray(shown.values, [shown.ny, shown.nx]) : undefined), [shown]);
  return (
    <div className="picture">
      <VisCanvas abscissaConfig={x} ordinateConfig={y} aspect={isEqual ? "equal" : "auto"} raycasterThreshold={6}>
        <DefaultInteractions pan={isStill ? false : {}} xAxisZoom={false} yAxisZoom={false} />
        <ResetZoomButton />
        {rgb && "nx" in shown ? (
          <Colours grid={shown} rgb={rgb} />
        ) : "nx" in shown ? (
          <Heatmap
            values={pixels as never}
            domain={domain}
            colorMap={colorMap}
            scaleType={scaleType}
            badColor={TRANSPARENT}
          />
        ) : (
          <ScatterPoints
            abscissas={shown.x as number[]}
            ordinates={shown.y as number[]}
            data={shown.values as number[]}
            domain={domain}
            scaleType={scaleType}
            colorMap={colorMap}
            invertColorMap={false}
            size={Math.max(SMALLEST, Math.min(LARGEST, PICTURE / Math.sqrt(shown.values.length)))}
          />
        )}
        {children}
      </VisCanvas>
      {!rgb && <ColorScale domain={domain} shade={shade} />}
    </div>
  );
}

function Colours({ grid: { nx, ny }, rgb }: { grid: Grid; rgb: Uint8Array }) {
  const texture = useMemo(() => {
    const texture = new DataTexture(rgb, nx, ny);
    texture.colorSpace = SRGBColorSpace;
    texture.needsUpdate = true;
    return texture;
  }, [rgb, nx, ny]);
  useEffect(() => () => texture.dispose(), [texture]);
  return (
    <VisMesh>
      <meshBasicMaterial map={texture} transparent toneMapped={false} />
    </VisMesh>
  );
}

/** An axis from edge to edge of its pixels, whose middles are the positions; or around scattered points. */
function config(values: ArrayLike<number>, isGrid: boolean, axis: Quantity = { name: "" }): AxisConfig {
  let [least, greatest] = [Infinity, -Infinity];
  for (let at = 0; at < values.length; at++) {
    least = values[at]! < least ? values[at]! : least;
    greatest = values[at]! > greatest ? values[at]! : greatest;
  }
  if (!(least <= greatest)) {
    [least, greatest] = [0, 1]; // no position is known
  }
  const margin = isGrid ? stepOf(values) / 2 : AROUND * (greatest - least) || 1;
  return {
    visDomain: [least - margin, greatest + margin],
    label: labelled(axis.name, axis.unit),
    formatTick: (value) => figure(Number(value)),
  };
}
