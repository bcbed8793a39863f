// The map that a tile shows: one of those that are published, or what is computed from two or three of them.

import type { Domain } from "@h5web/lib";
import { useEffect, useMemo, useRef } from "react";

import type { Arrays } from "../arrays";
import { useChosen } from "../chosen";
import { useLive } from "../live";
import { combined, gridOf, normalised, pointsOf, rgbOf, type Grid, type Points } from "../maps";
import { useMap, useMaps, useScalars, type MapData } from "../measured";
import type { MapAbout, Maps } from "../server";
import { domainOf, type Shade } from "../shade";
import { isBad } from "../useMatched";

export type Comparison = "one" | "difference" | "ratio" | "rgb" | "previous" | "beside";

export interface MapOptions {
  /** The id of the map; else that which is chosen, or the default one. */
  map: string | null;
  second: string | null;
  third: string | null;
  comparison: Comparison;
  /** The scalar that values are divided by. */
  monitor: string | null;
  shade: Shade;
  hasPath: boolean;
  isEqual: boolean;
}

export interface ShownMap {
  maps?: Maps;
  /** The map of which the number is `map`; nothing if there is none like that. */
  about?: MapAbout;
  shown?: Grid | Points;
  /** The same of the scan before. */
  beside?: Grid | Points;
  rgb?: Uint8Array;
  domain?: Domain;
  /** Whether it is of a scan before the one that is looked at, which has none yet. */
  isStale: boolean;
  /** Why there is less than was asked for. */
  reason?: string;
}

/**
 * The map that is shown where none is chosen: that which the stages say, or the first one.
 *
 * Of one stack it stays the one that it was: also when another peak becomes the brightest one, and while a scan has
 * no peaks yet.
 */
function defaultOf(maps: MapAbout[], before: MapAbout | undefined, hasEnded: boolean): MapAbout | undefined {
  const told = maps.find((map) => map.default);
  if (!told && before && !hasEnded) {
    return before;
  }
  const usual = told ?? maps.find(({ kind }) => kind !== "line") ?? maps[0];
  const same = usual?.path === before?.path ? maps.find(({ id }) => id === before?.id) : undefined;
  return same ?? usual;
}

export function useShownMap(options: Partial<MapOptions>, shade: Shade): ShownMap {
  const { map, of } = useChosen();
  const { comparison = "one", monitor = null } = options;
  const maps = useMaps(of);
  const runs = useLive((live) => live.runs);
  const run = useLive((live) => of ?? live.run);
  const all = maps.data?.maps ?? [];
  const wanted = options.map ?? map;
  const usual = useRef<MapAbout>();
  const hasEnded = useLive(({ status, run }) => of !== null || (status?.state === "CLOSE" && status.run.uid === run));
  const about = wanted === null ? defaultOf(all, usual.current, hasEnded) : all.find(({ id }) => id === wanted);
  useEffect(() => {
    usual.current = about;
  }, [about]);
  const isRgb = comparison === "rgb";
  const isOfTwo = isRgb || comparison === "difference" || comparison === "ratio";
  const isOfRuns = comparison === "previous" || comparison === "beside";
  const previous = isOfRuns ? before(runs.map(({ uid }) => uid), run) : null;
  const id = about?.id ?? null;
  const other = isOfTwo ? (options.second ?? null) : previous === null ? null : id;
  const [first, second, third] = [
    useMap(id, of),
    useMap(other, isOfTwo ? of : previous),
    useMap(isRgb ? (options.third ?? null) : null, of),
  ];
  const scalar = useScalars(monitor === null ? [] : [monitor], of); // of the scan before it is not divided
  const one = useDivided(first.data, monitor, scalar.data);
  const two = useDivided(second.data, monitor, scalar.data);
  const three = useDivided(third.data, monitor, scalar.data);

  const computed = useMemo(
    () => compute(comparison, one, two, three, shade),
    [comparison, one, two, three, shade],
  );
  const lacks = isOfTwo && !options.second ? "choose a second map" : isOfRuns && previous === null ? "no scan before this one is kept" : undefined; // prettier-ignore
  return {
    maps: maps.data,
    about,
    ...computed,
    isStale: first.data !== undefined && first.data.header.run !== run,
    reason: (isBad(first.error) ? first.error?.message : undefined) ?? lacks ?? second.error?.message ?? computed.reason,
  };
}

type Columns = Arrays<{ uid: string }> | undefined;

/** A map, divided by a monitor where the values of that are known. */
function useDivided(data: MapData | undefined, monitor: string | null, columns: Columns): Some {
  return useMemo(() => {
    const one = data && (gridOf(data) ?? pointsOf(data));
    const [seqNums, values] = [columns?.arrays["seq_num"], monitor === null ? undefined : columns?.arrays[monitor]];
    if (!one || monitor === null || !seqNums || !values || data.header.run !== columns?.header.uid) {
      return one;
    }
    return normalised(one, monitor, { seqNums: seqNums.values, values: values.values });
  }, [data, monitor, columns]);
}

/** The run before another one; the latest run is the first one of the list or the last one. */
function before(uids: string[], run: string | null): string | null {
  const at = run === null ? -1 : uids.indexOf(run);
  return at < 0 ? null : (uids[at + 1] ?? null);
}

type Some = Grid | Points | undefined;

function compute(comparison: Comparison, a: Some, b: Some, c: Some, shade: Shade): Pick<ShownMap, "shown" | "rgb" | "domain" | "beside" | "reason"> { // prettier-ignore
  if (!a) {
    return {};
  }
  const isTwo = comparison === "difference" || comparison === "ratio" || comparison === "previous";
  if (isTwo && b) {
    const operation = comparison === "ratio" ? "ratio" : "difference";
    const result = "nx" in a && "nx" in b ? combined(a, b, operation) : undefined;
    if (!result) {
      return { ...single(a, shade), reason: "the maps are not of one shape: the first one is shown" };
    }
    const shown = comparison === "previous" ? { ...result, label: `${a.label} − scan before` } : result;
    return { shown, domain: comparison === "ratio" ? domainOf(shown.values, shade) : around0(shown.values, shade) };
  }
  if (comparison === "rgb" && "nx" in a) {
    const grids = [a, b, c].map((one) => (one && "nx" in one ? one : undefined));
    const rgb = rgbOf(grids, grids.map((grid) => grid && domainOf(grid.values, shade))); // prettier-ignore
    const label = grids.map((grid, at) => grid && `${["red", "green", "blue"][at]} ${grid.label}`).filter(Boolean);
    return { shown: { ...a, label: label.join(", ") }, rgb };
  }
  if (comparison === "beside" && b) {
    const both = [...Array.from(a.values), ...Array.from(b.values)];
    return { shown: a, beside: b, domain: domainOf(both, shade) };
  }
  return single(a, shade);
}

function single(shown: Grid | Points, shade: Shade): Pick<ShownMap, "shown" | "domain"> {
  return { shown, domain: domainOf(shown.values, shade) };
}

/** The colours of a difference are as far from 0 on both sides. */
function around0(values: Float32Array, shade: Shade): Domain | undefined {
  const domain = domainOf(values, shade);
  const end = domain && Math.max(...domain.map(Math.abs));
  return end === undefined ? undefined : [-end || -1, end || 1];
}
