// Pictures and tables of what is seen, for a notebook or a colleague: with the run on them.

import { toBlob } from "html-to-image";

import type { Status } from "./server";

/** What a picture or a table says of where it comes from. */
export interface Origin {
  uid: string | null;
  scan: string;
  version: string;
}

export function originOf(status: Status | undefined, of: string | null): Origin {
  const { run, deployedVersions } = status ?? {};
  const isLatest = of === null || of === run?.uid;
  return {
    uid: of ?? run?.uid ?? null,
    scan: isLatest ? `scan ${run?.scan_id ?? "–"} ${run?.plan_name ?? ""}`.trim() : "an earlier scan",
    version: `bluesky-ext ${deployedVersions?.bluesky_ext ?? ""}`,
  };
}

/** Columns as CSV (RFC 4180), with lines before them that say where they come from. */
export function csvOf(columns: Record<string, ArrayLike<unknown>>, title: string, { uid, scan, version }: Origin): string {
  const names = Object.keys(columns);
  const length = Math.max(0, ...names.map((name) => columns[name]!.length));
  const lines = [`# ${oneLine(title)}`, `# ${oneLine(scan)}, run ${uid ?? "none"}`, `# ${version}`];
  lines.push(names.map(cell).join(","));
  for (let row = 0; row < length; row++) {
    lines.push(names.map((name) => cell(columns[name]![row])).join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  // A text that begins as a formula would be computed by a spreadsheet.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Save a picture of an element, with a line below it that says where it comes from. */
export async function savePicture(element: HTMLElement, title: string, origin: Origin): Promise<void> {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const picture = await toBlob(element, {
    backgroundColor: color("--card"),
    pixelRatio: 2,
    skipFonts: true,
    filter: (node) => !(node instanceof HTMLElement && "unseen" in node.dataset),
  });
  if (!picture) {
    throw new Error("the browser makes no picture of this");
  }
  const image = await createImageBitmap(picture);
  const canvas = document.createElement("canvas");
  const line = 44;
  [canvas.width, canvas.height] = [image.width, image.height + line];
  const context = canvas.getContext("2d")!;
  context.fillStyle = color("--card");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  context.fillStyle = color("--muted");
  context.font = "20px system-ui, sans-serif";
  context.fillText(captionOf(title, origin), 16, image.height + 28, canvas.width - 32);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) {
    save(blob, `${fileName(title, origin)}.png`);
  }
}

export function captionOf(title: string, { uid, scan, version }: Origin): string {
  return `${title} · ${scan} · run ${uid ?? "none"} · ${new Date().toISOString().slice(0, 19)}Z · ${version}`;
}

export function saveTable(columns: Record<string, ArrayLike<unknown>>, title: string, origin: Origin): void {
  save(new Blob([csvOf(columns, title, origin)], { type: "text/csv" }), `${fileName(title, origin)}.csv`);
}

function fileName(title: string, { scan, uid }: Origin): string {
  return `${scan} ${title} ${uid?.slice(0, 8) ?? ""}`.replace(/[^\p{L}\p{N}.-]+/gu, "_");
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser has begun to read it by then
}
