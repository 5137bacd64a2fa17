// Short notices after an action.

import { ElMessage } from "element-plus";
import { Problem, Unreachable } from "@/api/problem";
import { i18n } from "@/i18n";

/** What went wrong, for people. */
export function reason(error: unknown): string {
  const { t } = i18n.global;
  if (error instanceof Unreachable) return t("common.lost");
  if (error instanceof Problem) {
    const where = error.field ? `${error.field}: ` : "";
    return error.message.startsWith(where) ? error.message : `${where}${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

export function failed(error: unknown) {
  ElMessage({ type: "error", message: reason(error), showClose: true, duration: 8000 });
}

/** What happened without being asked for; stays until it is closed. */
export function notice(message: string) {
  ElMessage({ type: "warning", message, showClose: true, duration: 0 });
}

export function done(message: string) {
  ElMessage({ type: "success", message });
}

export async function copy(text: string) {
  const { t } = i18n.global;
  try {
    // Browsers have a clipboard only for pages that came by TLS, or from the same machine.
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    done(t("common.copied"));
  } catch (error) {
    failed(error);
  }
}

function copyBySelection(text: string) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "for-readers";
  // Inside of a dialog, which keeps the focus.
  const place = document.activeElement?.parentElement ?? document.body;
  place.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  if (!isDone) throw new Error(i18n.global.t("common.copyByHand"));
}
