// The regions of a data key, as the server has them: what is changed here is shown at once, and sent.

import { useRef, useState } from "react";

import { readParameters, useLive, useReadOnly } from "./live";
import type { Kind, Region } from "./regions";
import { address, change, type Parameter } from "./server";

/** So many changes can be taken back. */
const UNDONE = 20;

export interface Regions {
  regions: Region[];
  kinds: Kind[];
  /** The unit of the ends of a range. */
  unit: string | null;
  /** Why they can't be changed here. */
  readOnly?: string;
  /** Why the last change was not made; empty if it was. */
  reason: string;
  /** Replace a region by another, or take it out; a new one comes last. */
  put: (name: string, region: Region | undefined) => void;
  /** Take back the last change that was made here. */
  undo?: () => void;
}

/** Nothing where no stage has regions of that data key. */
export function useRegions(of: string | undefined): Regions | undefined {
  const parameter = useLive(({ parameters }) =>
    parameters.find(({ kinds, of: key }) => kinds !== undefined && key === of),
  );
  const readOnly = useReadOnly();
  const [pending, setPending] = useState<Region[]>();
  const [reason, setReason] = useState("");
  const [before, setBefore] = useState<Region[][]>([]);
  const sent = useRef(0);
  const last = useRef<Promise<string>>(); // the tag of what was sent last, which the next change is made of
  if (!parameter) {
    return undefined;
  }
  const regions = pending ?? regionsOf(parameter);
  const set = async (next: Region[]): Promise<void> => {
    const number = ++sent.current;
    setPending(next);
    last.current = put(parameter, next, last.current);
    try {
      await last.current;
      setReason("");
    } catch (error) {
      setReason(error instanceof Error ? error.message : String(error));
    }
    await readParameters();
    if (number === sent.current) {
      last.current = undefined;
      setPending(undefined);
    }
  };
  return {
    regions,
    kinds: parameter.kinds ?? ["rectangle", "polygon"],
    unit: parameter.unit,
    readOnly: readOnly ? "Read-only: who has the token gives it in Settings." : undefined,
    reason,
    put: (name, region) => {
      setBefore((all) => [...all, regions].slice(-UNDONE));
      const isNew = !regions.some((one) => one.name === name);
      void set(
        isNew && region ? [...regions, region] : regions.flatMap((one) => (one.name === name ? (region ?? []) : one)),
      );
    },
    undo: before.length
      ? () => {
          setBefore((all) => all.slice(0, -1));
          void set(before.at(-1)!);
        }
      : undefined,
  };
}

/** Set the regions, if nobody else has since they were read, or since the change before; gives their tag. */
async function put({ name, stage, tag }: Parameter, regions: Region[], before: Promise<string> | undefined): Promise<string> { // prettier-ignore
  const known = (await before) ?? tag;
  const path = address(`/api/v1/parameter/${encodeURIComponent(name)}`, { stage });
  const answer = await change("PUT", path, JSON.stringify(regions), "application/json", known);
  return ((await answer.json()) as Parameter).tag;
}

function regionsOf({ value }: Parameter): Region[] {
  return Array.isArray(value) ? value : [];
}
