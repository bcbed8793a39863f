// Requests to the server, and what it answers.

import type { Kind, Region } from "./regions";

export interface LogLine {
  number: number;
  time: number;
  level: string;
  logger: string;
  message: string;
}

export interface Progress {
  completedEvents: number;
  totalEvents: number | null;
  lost: number;
  failed: number;
  skipped?: number;
  rate: number;
  lag: number;
  age: number | null;
  /** Seconds that the rest of the scan takes, when its length and the rate are known. */
  remaining?: number | null;
}

export interface Stream {
  received: number;
  failed: number;
  lost: number;
  skipped?: number;
}

export interface Stage {
  name: string;
  kind: string;
  class?: string;
  /** The hash of the parameters, as the provenance of results has it. */
  parameters_sha256?: string | null;
  open_runs: number;
  lag?: number;
  streams: Record<string, Stream>;
  counts: Record<string, number>;
}

export interface LiveStream {
  stream: string;
  on: boolean;
  running: boolean;
  received: number;
  skipped: number;
}

export interface Status {
  state: "ON" | "RUNNING" | "CLOSE";
  run: {
    uid: string | null;
    scan_id: number | string | null;
    plan_name: string | null;
    exit_status: string | null;
    purpose?: string | null;
  };
  /** Whether changes take a token. */
  access?: { token: boolean };
  progress: Progress;
  stages: Stage[];
  sources: { name: string; counts: Record<string, number> }[];
  deployedVersions: { bluesky_ext: string; revision: string | null };
  errors: LogLine[];
  live?: LiveStream[];
}

/** A quantity, and its unit where it is known. */
export interface Quantity {
  name: string;
  unit?: string | null;
}

/** One of the maps that are published. The axes are slow first, as those of its array. */
export interface MapAbout {
  id: string;
  label: string;
  path: string;
  index: number[] | null;
  kind: "grid" | "line" | "points";
  shape: number[];
  axes: Quantity[];
  unit: string | null;
  stage: string;
  default: boolean;
}

export interface Maps {
  revision: number;
  run: string | null;
  maps: MapAbout[];
  /** How many more there are. */
  truncated: number;
}

/** A scan that is still here. */
export interface Run {
  uid: string;
  scan_id: number | string | null;
  plan_name: string | null;
  state: "running" | "ended" | "incomplete";
  exit_status: string | null;
  time: number;
  num_points: number | null;
}

/** An image of a point: that which was taken, or what a stage made of it. */
export interface ImageAbout {
  stage: string;
  key: string;
  kind: "taken" | "made";
  shape: number[];
  /** Whether it is still there, or why not. */
  available: true | string;
}

/** What was measured at a point of a scan. */
export interface Point {
  seq_num: number;
  time: number;
  uid: string;
  position: Record<string, number>;
  row: { name: string; value: number | string | boolean | null; unit?: string | null }[];
  images: ImageAbout[];
  /** Of each stage the peaks that it found: x along columns, y along rows, pixel centres at whole numbers. */
  peaks: Record<string, { columns: Record<string, number[]> }>;
  curves: { id: string; label: string; stage: string }[];
}

/** What the beamline should notice. */
export interface Notice {
  number: number;
  time: number;
  kind: "run started" | "run ended" | "run incomplete" | "parameter" | "loss" | "warning" | "error";
  text: string;
  who?: string | null;
  run?: string | null;
}

/** The layouts that the server keeps, by name. */
export type Layouts = Record<string, { layout: unknown; revision: number }>;

export interface Parameter {
  name: string;
  stage: string;
  /** Another one whenever the value is another. */
  tag: string;
  value: string | number | boolean | null | Region[];
  size?: number;
  kind: string | null;
  default: string | number | boolean | null | Region[];
  description: string | null;
  unit: string | null;
  limits: (number | null)[] | null;
  choices: (string | number | boolean)[] | null;
  /** Of regions: the data key on which they are drawn, and which kinds there may be. */
  of?: string;
  kinds?: Kind[];
}

/** An answer without content: its code, and the reason that the server gives, or 204 where there is nothing yet. */
export class Refused extends Error {
  constructor(
    readonly code: number,
    reason: string,
  ) {
    super(reason);
  }
}

/** There is no server. */
export class Absent extends Error {}

const TOKEN = "bluesky-ext token";
const USER = "bluesky-ext user";

export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
  dispatchEvent(new Event(TOKEN));
}

/** Call `listener` when a token is given, until the function that is returned is called. */
export function onToken(listener: () => void): () => void {
  addEventListener(TOKEN, listener);
  return () => removeEventListener(TOKEN, listener);
}

/** Send a request; Refused if the answer has no content, Absent if there is none. */
export async function send(path: string, options: RequestInit = {}): Promise<Response> {
  const answer = await fetch(path, options).catch((error: unknown) => {
    throw error instanceof TypeError ? new Absent("the server is not there") : error;
  });
  if (answer.status === 204) {
    throw new Refused(204, "nothing is measured yet");
  }
  if (!answer.ok && answer.status !== 304) {
    throw new Refused(answer.status, reasonOf(await answer.text()) || answer.statusText);
  }
  return answer;
}

/** What is at a path, from its JSON. */
export async function get<Content>(path: string): Promise<Content> {
  return (await send(path)).json() as Promise<Content>;
}

/** Whether a token was given in this window. */
export function hasToken(): boolean {
  return Boolean(sessionStorage.getItem(TOKEN));
}

/** The name of the user, which is told with what is changed. */
export function userName(): string {
  return localStorage.getItem(USER) ?? "";
}

export function setUserName(name: string): void {
  localStorage.setItem(USER, name);
}

/** Change something, with the token and the user's name, if there are; with a tag only if it is that still. */
export async function change(method: string, path: string, body: BodyInit, type: string, tag?: string): Promise<Response> { // prettier-ignore
  const token = sessionStorage.getItem(TOKEN);
  const headers = {
    "content-type": type,
    authorization: `Bearer ${token ?? ""}`,
    ...(tag && { "if-match": `"${tag}"` }),
    ...(userName() && { "x-user": encodeURIComponent(userName()) }), // a header holds no other letters
  };
  return send(path, { method, body, headers });
}

/** The address of something with these parameters; those that are undefined or null are left out. */
export function address(path: string, parameters: Record<string, string | number | null | undefined> = {}): string {
  const given = Object.entries(parameters).flatMap(([name, value]) => (value == null ? [] : [[name, String(value)]]));
  return given.length ? `${path}?${new URLSearchParams(given).toString()}` : path;
}

/** What a refusal says: the detail of its JSON, or its text. */
export function reasonOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown };
    return typeof detail === "string" ? detail : text;
  } catch {
    return text.trim();
  }
}
