// The layout of the page: a default one, or one that the server keeps under a name and that all browsers share.

import { useMemo } from "react";
import { create } from "zustand";

import { keepInAddress } from "./chosen";
import { defaultLayout, layoutIn, type Layout } from "./layouts";
import { readLayouts, useLive } from "./live";
import { useMaps } from "./measured";
import { change } from "./server";

const OWN = "bluesky-ext layout";
/** Milliseconds after the last change of a layout, until all others see it. */
const PAUSE = 300;

interface Arranged {
  /** The name of the layout that the server keeps; null: this browser's own, or the default one. */
  name: string | null;
  /** What is not on the server (yet): since it is this browser's own, or newer, or was refused. */
  draft: Layout | null;
  reason: string;
}

const useArranged = create<Arranged>(() => ({
  name: new URLSearchParams(globalThis.location?.search).get("layout"),
  draft: null,
  reason: "",
}));

let timer: ReturnType<typeof setTimeout> | undefined;

export function openLayout(name: string | null): void {
  clearTimeout(timer);
  useArranged.setState({ name, draft: null, reason: "" });
  keepInAddress({ layout: name });
}

/** Arrange the tiles otherwise: for all browsers, where the layout has a name. */
export function arrange(layout: Layout): void {
  const { name } = useArranged.getState();
  useArranged.setState({ draft: layout });
  clearTimeout(timer);
  if (name === null) {
    localStorage.setItem(OWN, JSON.stringify(layout));
  } else {
    timer = setTimeout(() => void send(name, layout), PAUSE);
  }
}

/** Back to the default layout. */
export function resetLayout(): void {
  localStorage.removeItem(OWN);
  openLayout(null);
}

export async function saveLayout(name: string, layout: Layout): Promise<void> {
  clearTimeout(timer);
  if (await send(name, layout)) {
    openLayout(name);
  }
}

export async function removeLayout(name: string): Promise<void> {
  try {
    await change("DELETE", pathOf(name), "", "application/json");
    openLayout(null);
    await readLayouts();
  } catch (error) {
    useArranged.setState({ reason: error instanceof Error ? error.message : String(error) });
  }
}

async function send(name: string, layout: Layout): Promise<boolean> {
  try {
    await change("PUT", pathOf(name), JSON.stringify(layout), "application/json");
    await readLayouts();
    const { name: shown, draft } = useArranged.getState();
    // Until the name is that of the layout the draft is shown: so that no other layout flashes up between them.
    useArranged.setState({ reason: "", ...(shown === name && draft === layout && { draft: null }) });
    return true;
  } catch (error) {
    useArranged.setState({ reason: `not shared: ${error instanceof Error ? error.message : String(error)}` });
    return false;
  }
}

function pathOf(name: string): string {
  return `/api/v1/layouts/${encodeURIComponent(name)}`;
}

function own(): Layout | undefined {
  try {
    return layoutIn(JSON.parse(localStorage.getItem(OWN) ?? "null"));
  } catch {
    return undefined; // somebody else wrote there
  }
}

export interface LayoutState {
  name: string | null;
  layout: Layout;
  isDefault: boolean;
  /** Why a layout is not there, or not shared. */
  reason: string;
}

export function useLayout(): LayoutState {
  const { name, draft, reason } = useArranged();
  const layouts = useLive((live) => live.layouts);
  const stages = useLive((live) => live.status?.stages);
  const maps = useMaps().data?.maps;
  const stored = name === null ? undefined : layouts?.[name]?.layout;
  const classes = stages?.map((stage) => stage.class).join();
  const hasMaps = maps?.some(({ kind }) => kind !== "line");
  const usual = useMemo(() => defaultLayout(stages ?? [], maps ?? []), [classes, hasMaps]);
  const kept = useMemo(() => (name === null ? own() : layoutIn(stored)), [name, stored]);
  const isMissing = name !== null && layouts !== undefined && !kept;
  return {
    name,
    layout: draft ?? kept ?? usual,
    isDefault: !draft && !kept,
    reason: reason || (isMissing ? `there is no layout ${name} any more: this is the default one` : ""),
  };
}
