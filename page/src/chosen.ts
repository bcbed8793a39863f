// What is looked at, which all tiles share; the address of the page says it, to keep or to hand on.

import { create } from "zustand";

import { useLive } from "./live";

export interface Chosen {
  /** The id of the map that is shown; null: the default one. */
  map: string | null;
  /** The uid of the run; null: the latest one. */
  of: string | null;
  /** The number of the point whose image, curves and row are shown. */
  point: number | "latest";
  /** The region that is edited. */
  region: string | null;
}

function chosenIn(search: string): Chosen {
  const query = new URLSearchParams(search);
  const point = Number(query.get("point"));
  return {
    map: query.get("map"),
    of: query.get("of"),
    point: Number.isInteger(point) && point > 0 ? point : "latest",
    region: null,
  };
}

/** The store: `useChosen((chosen) => chosen.map)`. */
export const useChosen = create<Chosen>(() => chosenIn(globalThis.location?.search ?? ""));

/** Look at something else; the address says so from then on. */
export function choose(part: Partial<Chosen>): void {
  useChosen.setState(part);
  const { map, of, point } = useChosen.getState();
  keepInAddress({ map, of, point: point === "latest" ? null : String(point) });
}

/** Have the address of the page say this; what is null is taken out of it. */
export function keepInAddress(parts: Record<string, string | null>): void {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(parts)) {
    if (value === null) {
      query.delete(name);
    } else {
      query.set(name, value);
    }
  }
  const text = query.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

/** The point under the mouse, in whichever tile that is. */
export interface Hover {
  point: number | null;
  position: Record<string, number>;
}

export const useHover = create<{ hover: Hover | null }>(() => ({ hover: null }));

// A point of a run that is replaced by the next one is none of that: where the latest run is followed, so is its point.
useLive.subscribe(({ run }, before) => {
  if (before.run !== null && run !== before.run && useChosen.getState().of === null) {
    choose({ point: "latest" });
  }
});
