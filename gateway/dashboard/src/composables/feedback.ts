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

export function done(message: string) {
  ElMessage({ type: "success", message });
}

export async function copy(text: string) {
  const { t } = i18n.global;
  try {
    await navigator.clipboard.writeText(text);
    done(t("common.copied"));
  } catch (error) {
    failed(error);
  }
}
