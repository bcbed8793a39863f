// The image of a point: the latest or the chosen one, with the peaks that were found on it, and the regions of it.

import { useEffect, useMemo, useState } from "react";

import { useChosen } from "../chosen";
import { figure } from "../curves";
import { ImageView, type Peak } from "../ImageView";
import { useLive } from "../live";
import { useImage, usePoint } from "../measured";
import { PointPicker } from "../PointPicker";
import type { Kind } from "../regions";
import type { ImageAbout, Point } from "../server";
import type { Shade } from "../shade";
import { ShadeControls } from "../ShadeControls";
import { isBad, useMatched } from "../useMatched";
import { useRegions } from "../useRegions";
import { useRegionTools } from "../useRegionTools";
import type { TileProps } from "./tile";

export interface ImageOptions extends Shade {
  /** Which image: that of a stage which took or made it. */
  image: string;
  hasPeaks: boolean;
}

type Columns = Point["peaks"][string]["columns"];

const AREAS: Kind[] = ["rectangle", "polygon"];
const NONE = { stage: "", key: "", kind: "taken" } as const;
const SHADE: Shade = { colorMap: "Viridis", scale: "log", low: 1, high: 99.9 };

export function ImageTile({ options, setOptions, describe }: TileProps<ImageOptions>) {
  const { point: chosen, of } = useChosen();
  const run = useLive((live) => live.run);
  const [isOpen, setIsOpen] = useState(false);
  const present = usePoint(chosen, of);
  const images = distinct(present.data, options.image);
  const about = images.find((one) => idOf(one) === options.image) ?? usual(images, present.data);
  const shown = useImage(about ? chosen : null, about ?? NONE, of);
  const { arrays, point } = useMatched(shown);
  const tools = useRegionTools(useRegions(about?.key), AREAS);
  const hasPeaks = options.hasPeaks ?? true;
  const peaks = useMemo(() => (hasPeaks && point && about ? peaksOf(point, about) : []), [hasPeaks, point, about]);
  const shade: Shade = { ...SHADE, ...options };
  const image = arrays?.arrays["image"];
  const title = about ? nameOf(about) : "Image";

  useEffect(() => {
    const table = (): Record<string, ArrayLike<unknown>> => ({
      number: peaks.map(({ number }) => number),
      x: peaks.map(({ x }) => x),
      y: peaks.map(({ y }) => y),
    });
    describe({ title, table: peaks.length > 0 ? table : undefined });
  }, [title, peaks, describe]);
  if (!image || !about) {
    return (
      <p className="empty">
        {run !== null
          ? reasonOf(present.error ?? shown.error, about)
          : "The image of a point is shown here when a scan has begun."}
      </p>
    );
  }
  const [rows, columns] = image.shape;
  return (
    <div className={arrays?.header.uid === (of ?? run) ? "point-tile" : "point-tile stale"}>
      <div className="tools">
        <PointPicker shown={arrays?.header.seq_num} />
        {images.length > 1 && (
          <label>
            <span className="hidden">which image</span>
            <select
              className="brief"
              title={title}
              value={idOf(about)}
              onChange={({ target }) => setOptions({ image: target.value })}
            >
              {images.map((one) => (
                <option key={idOf(one)} value={idOf(one)}>
                  {nameOf(one)}
                </option>
              ))}
            </select>
          </label>
        )}
        <button type="button" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
          Colours
        </button>
        {isOpen && (
          <div className="more">
            <ShadeControls shade={shade} onChange={setOptions} />
            <label>
              <input
                type="checkbox"
                checked={hasPeaks}
                onChange={({ target }) => setOptions({ hasPeaks: target.checked })}
              />
              <span>peaks</span>
            </label>
          </div>
        )}
        <span className="said">
          {columns} × {rows}
          {arrays?.header.frames! > 1 && `, mean of ${arrays?.header.frames} frames`}
          {peaks.length > 0 && `, ${peaks.length} peaks`}
        </span>
      </div>
      {isBad(shown.error) && <p className="bad note">{shown.error?.message}</p>}
      <ImageView label={title} image={image} shade={shade} peaks={peaks} isDrawing={tools.isDrawing}>
        {tools.layer}
      </ImageView>
      {tools.bar}
    </div>
  );
}

function idOf({ stage, key, kind }: ImageAbout): string {
  return JSON.stringify([stage, kind, key]);
}

function nameOf({ key, kind, stage }: ImageAbout): string {
  return kind === "made" ? `${key}, by ${stage}` : key;
}

/** The images of a point, once each: as the stage has them that found peaks, or as they were chosen. */
function distinct(point: Point | undefined, chosen: string | undefined): ImageAbout[] {
  const rank = (one: ImageAbout): number => (idOf(one) === chosen ? 0 : point?.peaks[one.stage] ? 1 : 2);
  const images = [...(point?.images ?? [])].sort((one, other) => rank(one) - rank(other));
  const isSame = (one: ImageAbout, other: ImageAbout): boolean =>
    one.key === other.key && one.kind === "taken" && other.kind === "taken" && one.available === other.available;
  return images.filter((one, at) => !images.slice(0, at).some((other) => isSame(one, other)));
}

/** The image on which peaks were found, or else the first that is there. */
function usual(images: ImageAbout[], point: Point | undefined): ImageAbout | undefined {
  const isThere = images.filter(({ available }) => available === true);
  return isThere.find(({ stage, kind }) => kind === "taken" && point?.peaks[stage]) ?? isThere[0] ?? images[0];
}

/** The peaks on an image: those of the stage that took it, with the numbers of their tracks where they are linked. */
function peaksOf(point: Point, { stage }: ImageAbout): Peak[] {
  const tables = Object.values(point.peaks).map(({ columns }) => columns);
  const own = point.peaks[stage]?.columns ?? (tables.length === 1 ? tables[0] : undefined);
  const isSame = (columns: Columns): boolean => columns["x"]?.join() === own?.["x"]?.join();
  const linked = tables.find((columns) => columns["particle"] && isSame(columns));
  const columns = linked ?? own ?? {};
  const { x = [], y = [], particle, ...others } = columns;
  return x.map((at, index) => ({
    number: particle?.[index] ?? index + 1,
    x: at,
    y: y[index]!,
    about: Object.entries({ x, y, ...others })
      .map(([name, values]) => `${name} ${figure(values[index] ?? NaN)}`)
      .join("\n"),
  }));
}

function reasonOf(error: Error | undefined, about: ImageAbout | undefined): string {
  if (about && about.available !== true) {
    return about.available;
  }
  return error?.message ?? (about ? "…" : "No image was taken at this point.");
}
