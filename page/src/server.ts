// Requests to the server, and what it answers.

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
  progress: Progress;
  stages: Stage[];
  sources: { name: string; counts: Record<string, number> }[];
  deployedVersions: { bluesky_ext: string; revision: string | null };
  errors: LogLine[];
  live?: LiveStream[];
}

export interface Parameter {
  name: string;
  stage: string;
  value: string | number | boolean | null;
  size?: number;
  kind: string | null;
  default: string | number | boolean | null;
  description: string | null;
  unit: string | null;
  limits: (number | null)[] | null;
  choices: (string | number | boolean)[] | null;
}

/** An answer that is no success: its code, and the reason that the server gives. */
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

export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

/** Send a request; Refused if the answer is no success, Absent if there is none. */
export async function send(path: string, options: RequestInit = {}): Promise<Response> {
  const answer = await fetch(path, options).catch((error: unknown) => {
    throw error instanceof TypeError ? new Absent("the server is not there") : error;
  });
  if (!answer.ok) {
    throw new Refused(answer.status, reasonOf(await answer.text()) || answer.statusText);
  }
  return answer;
}

/** What is at a path, from its JSON. */
export async function get<Content>(path: string): Promise<Content> {
  return (await send(path)).json() as Promise<Content>;
}

/** Change something; with the token, if there is one. */
export async function change(method: string, path: string, body: BodyInit, type: string): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { "content-type": type, authorization: `Bearer ${token ?? ""}` };
  return send(path, { method, body, headers });
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
