// What is known of the server: one store, which hears of every change.

import { useSyncExternalStore } from "react";
import { create } from "zustand";

import { listen, type News } from "./events";
import {
  Absent,
  get,
  hasToken,
  onToken,
  Refused,
  type Layouts,
  type Notice,
  type Parameter,
  type Run,
  type Status,
} from "./server";

export interface Live {
  isThere: boolean;
  status?: Status;
  /** When the status was that, in ms. */
  time: number;
  /** Of what is published: it grows with every change. */
  revision: number;
  run: string | null;
  /** The number of the latest point. */
  latest: number | null;
  notices: Notice[];
  parameters: Parameter[];
  layouts?: Layouts;
  runs: Run[];
}

/** The store: `useLive((live) => live.status)` is told when that part changes. */
export const useLive = create<Live>(() => ({
  isThere: true,
  time: 0,
  revision: 0,
  run: null,
  latest: null,
  notices: [],
  parameters: [],
  runs: [],
}));

/** Whether nothing can be changed from this window, for want of a token. */
export function useReadOnly(): boolean {
  const isTrusted = useSyncExternalStore(onToken, hasToken, hasToken);
  return useLive(({ status }) => status?.access?.token === true) && !isTrusted;
}

/** Milliseconds of silence after which the server is asked. */
const SILENCE = 3000;
/** So many notices are kept, as the server does. */
const NOTICES = 1000;

let heard = 0;
let isListening = false;

/** Follow the server, for as long as the page is there. */
export function follow(): void {
  if ("SharedWorker" in globalThis) {
    const { port } = new SharedWorker("/page/listener.js", { type: "module" });
    port.addEventListener("message", ({ data }: MessageEvent<News>) => hear(data));
    port.start();
  } else {
    listen(hear);
  }
  setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - heard > SILENCE) {
      void ask();
    }
  }, 1000);
  void ask();
}

function hear(news: News): void {
  if (news.kind === "gone") {
    isListening = false;
    void ask(); // whether it is
    return;
  }
  heard = Date.now();
  if (news.kind === "status") {
    note(news.status, news.time);
    if (!isListening) {
      isListening = true;
      void readNotices(); // those from now on are heard
    }
  } else if (news.kind === "revision") {
    const { revision, run, latest } = news;
    if (run !== useLive.getState().run) {
      void readParameters(); // what they are about may differ from run to run
    }
    useLive.setState({ revision, run, latest });
  } else if (news.kind === "parameter") {
    void readParameters();
  } else if (news.kind === "layout") {
    void readLayouts();
  } else {
    add([news.notice]);
  }
}

function note(status: Status, time: number): void {
  const { status: before, isThere } = useLive.getState();
  useLive.setState({ isThere: true, status, time });
  if (!isThere || before === undefined) {
    void readParameters();
    void readLayouts();
  }
  if (before && hashesOf(before) !== hashesOf(status)) {
    void readParameters(); // somebody set one in the process of the analysis
  }
  if (!isThere || before?.run.uid !== status.run.uid || before?.state !== status.state) {
    void readRuns();
  }
}

function hashesOf({ stages }: Status): string {
  return stages.map(({ parameters_sha256 }) => parameters_sha256).join();
}

/** Ask for the status, and for what may have changed unheard. */
async function ask(): Promise<void> {
  try {
    const status = await get<Status>("/api/v1/status");
    heard = Date.now();
    note(status, heard);
    useLive.setState(({ revision }) => ({ revision: revision + 1e-6, run: status.run.uid }));
  } catch (error) {
    if (!(error instanceof Absent || error instanceof Refused)) {
      throw error;
    }
    useLive.setState({ isThere: false });
  }
}

/** Have the store know what is at a path; a server that is not there, or that refuses, is told of by the header. */
async function read<Content>(path: string, keep: (content: Content) => void): Promise<void> {
  try {
    keep(await get<Content>(path));
  } catch (error) {
    if (!(error instanceof Absent || error instanceof Refused)) {
      throw error;
    }
  }
}

export async function readParameters(): Promise<void> {
  return read<Parameter[]>("/api/v1/parameters", (parameters) => useLive.setState({ parameters }));
}

export async function readLayouts(): Promise<void> {
  return read<Layouts>("/api/v1/layouts", (layouts) => useLive.setState({ layouts }));
}

async function readRuns(): Promise<void> {
  return read<Run[]>("/api/v1/runs", (runs) => useLive.setState({ runs }));
}

async function readNotices(): Promise<void> {
  useLive.setState({ notices: [] }); // a server that is new counts from the beginning
  return read<Notice[]>("/api/v1/notifications", add);
}

function add(more: Notice[]): void {
  const { notices } = useLive.getState();
  const known = new Set(notices.map(({ number }) => number));
  const all = [...notices, ...more.filter(({ number }) => !known.has(number))].sort((a, b) => a.number - b.number);
  useLive.setState({ notices: all.slice(-NOTICES) });
}
