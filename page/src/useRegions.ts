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
  if (!parameter) {
    return undefined;
  }
  const regions = pending ?? regionsOf(parameter);
  const set = async (next: Region[]): Promise<void> => {
    const number = ++sent.current;
    const path = `/api/v1/parameter/${encodeURIComponent(parameter.name)}`;
    setPending(next);
    try {
      await change("PUT", address(path, { stage: parameter.stage }), JSON.stringify(next), "application/json");
      setReason("");
    } catch (error) {
      setReason(error instanceof Error ? error.message : String(error));
    }
    await readParameters();
    if (number === sent.current) {
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

function regionsOf({ value }: Parameter): Region[] {
  return Array.isArray(value) ? value : [];
}
