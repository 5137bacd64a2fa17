// How a field is called and explained: a text of ours, else what the API's description says.

import { useI18n } from "vue-i18n";

export function useLabels() {
  const { t, te } = useI18n();
  const last = (path: string) => path.split(".").at(-1) ?? path;
  function label(path: string): string {
    const key = `fields.labels.${last(path)}`;
    return te(key) ? t(key) : last(path).replaceAll("_", " ");
  }
  function hint(path: string, described?: string): string {
    const key = `fields.hints.${path}`;
    return te(key) ? t(key) : (described ?? "").replaceAll("\n", " ");
  }
  return { label, hint };
}
