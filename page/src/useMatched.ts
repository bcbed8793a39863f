// An image or a curve together with what else is known of its point: both of the same point, also while a scan goes on.

import { useRef } from "react";

import type { Arrays } from "./arrays";
import { usePoint } from "./measured";
import type { Shown } from "./resource";
import { Refused, type Point } from "./server";

export interface Matched<Header> {
  arrays?: Arrays<Header>;
  point?: Point;
}

/** The arrays and their point; until that is known, the arrays and the point before. */
export function useMatched<Header extends { seq_num: number; uid: string }>({ data }: Shown<Arrays<Header>>): Matched<Header> {
  const matched = useRef<Matched<Header>>({});
  const about = usePoint(data?.header.seq_num ?? null, data?.header.uid);
  const isSame = about.data?.seq_num === data?.header.seq_num && about.data?.uid === data?.header.uid;
  if (data === undefined) {
    matched.current = {};
  } else if (isSame) {
    matched.current = { arrays: data, point: about.data };
  } else if (about.error) {
    matched.current = { arrays: data }; // the point is not kept any more
  }
  return matched.current;
}

/** Whether it is to be said that something could not be had: what is not there yet is none of that. */
export function isBad(error: Error | undefined): boolean {
  return error !== undefined && !(error instanceof Refused && [204, 404].includes(error.code));
}
