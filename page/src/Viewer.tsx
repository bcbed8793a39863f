// Everything that is published, as a tree with its pictures: h5web, which follows the scan.

import { App, DataProvider, useDataContext } from "@h5web/app";
import { useEffect, useRef, useState } from "react";

import { keepInAddress } from "./chosen";
import { LiveFile } from "./live_file";
import { pause } from "./resource";
import { Absent, Refused } from "./server";

/** Milliseconds between two looks whether there is something new. */
const PERIOD = 1000;

/** The path to show that the address of the page says, or that was selected last. */
export function pathIn(search: string): string {
  const path = new URLSearchParams(search).get("path") ?? "";
  return `/${path.replace(/^\/+|\/+$/g, "")}`;
}

export function Viewer() {
  const [file] = useState(() => new LiveFile(location.host));
  return (
    <DataProvider api={file}>
      <Shown file={file} />
    </DataProvider>
  );
}

function Shown({ file }: { file: LiveFile }) {
  const stores = useDataContext();
  const [{ revision, attempt }, setDrawn] = useState({ revision: 0, attempt: 0 });
  const isDrawn = useRef<() => void>();
  useState(() => {
    const redraw = async (): Promise<void> =>
      new Promise((resolve) => {
        isDrawn.current = resolve;
        const failed = hasFailed() ? 1 : 0;
        setDrawn((before) => ({ revision: before.revision + 1, attempt: before.attempt + failed }));
      });
    file.attach(stores, redraw); // before anything is drawn
  });
  useEffect(() => isDrawn.current?.(), [revision]);
  useEffect(() => {
    let isOver = false;
    const watch = async (): Promise<void> => {
      while (!isOver) {
        await pause(PERIOD);
        if (document.visibilityState === "visible") {
          await refreshed(file);
        }
      }
    };
    void watch();
    return () => {
      isOver = true;
    };
  }, [file]);
  return (
    <div
      className="viewer"
      data-testid="viewer"
      data-revision={revision}
      onClick={() => setTimeout(keepPath)}
      onKeyUp={keepPath}
    >
      <App key={attempt} initialPath={pathIn(location.search)} disableDarkMode />
    </div>
  );
}

async function refreshed(file: LiveFile): Promise<void> {
  try {
    await file.refresh();
  } catch (error) {
    if (!(error instanceof Absent || error instanceof Refused)) {
      throw error;
    } // else the header tells that there is no server; what was kept no more is opened the next time
  }
}

/** Have the address say what is selected, for who loads the page again, or keeps the address. */
function keepPath(): void {
  const path = document.querySelector<HTMLElement>("[role=treeitem][aria-selected=true]")?.dataset["path"];
  if (path && path !== pathIn(location.search)) {
    keepInAddress({ path: path.slice(1) });
  }
}

/** Whether h5web says that it can't draw what is selected: it does not try again by itself, when there is something new. */
function hasFailed(): boolean {
  const isElsewhere = document.activeElement?.closest("aside"); // a new beginning would take the focus from a form
  const error = document.querySelector(".viewer :is([class*='_error_'], [class*='_detailedError_'])");
  return !isElsewhere && error !== null && document.querySelector(".viewer figure") === null;
}
