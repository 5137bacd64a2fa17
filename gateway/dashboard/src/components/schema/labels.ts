// The names of fields in the reader's language.

import { useI18n } from "vue-i18n";

export function useFieldLabel() {
  const { t, te } = useI18n();
  return (field: string) => (te(`fields.${field}`) ? t(`fields.${field}`) : field);
}
