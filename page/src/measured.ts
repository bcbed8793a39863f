// Hooks for what is measured and published: read again when it changes.

import { arraysIn, type Arrays, type NamedArray } from "./arrays";
import { useLive } from "./live";
import { useResource, type Shown } from "./resource";
import { address, get, send, type ImageAbout, type Maps, type Point, type Quantity } from "./server";

/** The version of what grows with the run; that of a run before this one stays. */
function useVersion(of: string | null | undefined): string {
  return useLive(({ run, revision }) => (of != null && of !== run ? "ended" : `${run}/${revision}`));
}

/** The version of what was measured at a point: that of the latest one changes with every point. */
function usePointVersion(seq: number | "latest", of: string | null | undefined): string {
  return useLive(({ run, latest }) =>
    of != null && of !== run ? "ended" : seq === "latest" ? `${run}/${latest}` : `${run}`,
  );
}

/** Milliseconds between two lists of maps: of many maps it takes longer by itself. */
const MAPS_PERIOD = 300;

/** Every map that is published, or that was when a run ended. */
export function useMaps(of?: string | null): Shown<Maps> {
  const path = address("/api/v1/maps", { of });
  return useResource(path, useVersion(of), async () => get<Maps>(path), MAPS_PERIOD);
}

export interface MapHeader {
  id: string;
  label: string;
  kind: "grid" | "line" | "points";
  axes: Quantity[];
  unit: string | null;
  revision: number;
  run: string | null;
}

/** A map: its arrays are `values`, `x`, for grids and points `y`, and `seq_num` where it is known. */
export interface MapData extends Arrays<MapHeader> {
  etag: string | null;
}

export function useMap(id: string | null, of?: string | null): Shown<MapData> {
  const path = address("/api/v1/map", { id, of });
  return useResource<MapData>(id === null ? null : path, useVersion(of), async (before) => {
    const headers: HeadersInit = before?.etag ? { "if-none-match": before.etag } : {};
    const answer = await send(path, { headers });
    const etag = answer.headers.get("etag");
    return answer.status === 304 && before ? before : { ...arraysIn<MapHeader>(await answer.arrayBuffer()), etag };
  });
}

export interface ScanHeader {
  uid: string;
  scan_id: number | string | null;
  motors: Quantity[];
  planned?: { kind: string; shape?: number[]; extents?: [number, number][]; snaked?: boolean } | null;
  num_points: number | null;
  scalars: Quantity[];
}

/** The path of a scan: `seq_num`, `x` and, where it has two axes, `y`, in the order of measuring. */
export function useScan(of?: string | null): Shown<Arrays<ScanHeader>> {
  return useGrowing<ScanHeader>("/api/v1/scan", of, "");
}

/** Columns of scalars: `seq_num`, `time`, and each name. */
export function useScalars(names: string[], of?: string | null): Shown<Arrays<{ uid: string }>> {
  const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
  return useGrowing<{ uid: string }>(names.length ? "/api/v1/scalars" : null, of, query);
}

/** Columns that grow at their end, of which only what is new is read. */
function useGrowing<Header extends { uid: string }>(
  path: string | null,
  of: string | null | undefined,
  query: string,
): Shown<Arrays<Header>> {
  const version = useVersion(of);
  const key = path && `${path} ${of ?? ""} ${query}`;
  return useResource<Arrays<Header>>(key, version, async (before) => {
    const isSame = before && before.header.uid === (of ?? useLive.getState().run);
    const after = isSame ? before.arrays["seq_num"]?.values.at(-1) : undefined;
    const asked = address(path!, { of, after });
    const answer = await send(query ? `${asked}${asked.includes("?") ? "&" : "?"}${query}` : asked);
    const more = arraysIn<Header>(await answer.arrayBuffer());
    return isSame ? appended(before, more) : more;
  });
}

/** Columns with what came after them; what came is all of them where it begins before their end. */
export function appended<Header extends { uid: string }>(before: Arrays<Header>, more: Arrays<Header>): Arrays<Header> {
  const [last, next] = [before.arrays["seq_num"]?.values.at(-1), more.arrays["seq_num"]?.values[0]];
  if (last === undefined || before.header.uid !== more.header.uid || (next !== undefined && next <= last)) {
    return more;
  }
  const columns = Object.entries(more.arrays).map(([name, column]) => [name, joined(before.arrays[name], column)]);
  return { header: more.header, arrays: Object.fromEntries(columns) as Record<string, NamedArray> };
}

function joined(before: NamedArray | undefined, { values }: NamedArray): NamedArray {
  const old = before?.values ?? new Float64Array();
  const length = old.length + values.length;
  // There is room behind a column, so that it is copied as often as its length doubles. What was shown stays.
  const hasRoom = old instanceof Float64Array && old.byteOffset === 0 && old.buffer.byteLength >= 8 * length;
  const buffer = hasRoom ? old.buffer : new ArrayBuffer(8 * Math.max(1024, 2 * length));
  const whole = new Float64Array(buffer, 0, length);
  if (!hasRoom) {
    whole.set(old);
  }
  whole.set(values, old.length);
  return { values: whole, shape: [length] };
}

/** What was measured at a point. Its peaks and curves may come after it. */
export function usePoint(seq: number | "latest" | null, of?: string | null): Shown<Point> {
  const [grows, own] = [useVersion(of), usePointVersion(seq ?? "latest", of)];
  const path = address(`/api/v1/point/${seq}`, { of });
  const version = seq === "latest" ? `${own} ${grows}` : grows;
  return useResource(seq === null ? null : path, version, async () => get<Point>(path), seq === "latest" ? 0 : 300);
}

export interface ImageHeader {
  stage: string;
  kind: "taken" | "made";
  seq_num: number;
  uid: string;
  /** How many frames it is the mean of. */
  frames?: number;
}

/** Milliseconds between two images: to draw a large one takes the page a good part of that. */
const IMAGE_PERIOD = 150;

/** An image of a point, as the array `image`. */
export function useImage(
  seq: number | "latest" | null,
  { stage, key, kind }: Pick<ImageAbout, "stage" | "key" | "kind">,
  of?: string | null,
): Shown<Arrays<ImageHeader>> {
  return useOfPoint(seq, address(`/api/v1/point/${seq}/image`, { stage, key, kind, of }), of, IMAGE_PERIOD);
}

export interface CurveHeader {
  id: string;
  label: string;
  seq_num: number;
  uid: string;
  x_label: string;
  x_unit: string | null;
  y_label: string;
  log: boolean;
  /** The number of its first channel, where only a part of them is drawn. */
  first_channel: number;
}

/** A curve of a point: `x`, and each y by its name. */
export function useCurve(
  seq: number | "latest" | null,
  id: string | null,
  of?: string | null,
): Shown<Arrays<CurveHeader>> {
  return useOfPoint(id === null ? null : seq, address(`/api/v1/point/${seq}/curve`, { id, of }), of);
}

/** Arrays of a point: they stay as they are, and are asked for again where they could not be had. */
function useOfPoint<Header>(
  seq: number | "latest" | null,
  path: string,
  of: string | null | undefined,
  period = 0,
): Shown<Arrays<Header>> {
  const own = usePointVersion(seq ?? "latest", of);
  const read = async (): Promise<Arrays<Header>> => {
    const buffer = await (await send(path)).arrayBuffer();
    return arraysIn<Header>(buffer);
  };
  return useResource(seq === null ? null : path, own, read, period);
}
