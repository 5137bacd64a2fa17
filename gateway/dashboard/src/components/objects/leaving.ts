// Asks before what was typed is lost, by a link or by closing the page.

import { ElMessageBox } from "element-plus";
import { onScopeDispose } from "vue";
import { useI18n } from "vue-i18n";
import { onBeforeRouteLeave, onBeforeRouteUpdate } from "vue-router";

export function useLeaveGuard(isChanged: () => boolean) {
  const { t } = useI18n();
  async function mayLeave(): Promise<boolean> {
    if (!isChanged()) return true;
    try {
      await ElMessageBox.confirm(t("objects.leave"), t("objects.leaveTitle"), {
        confirmButtonText: t("objects.leaveYes"),
        cancelButtonText: t("objects.leaveNo"),
        type: "warning",
      });
      return true;
    } catch {
      return false;
    }
  }
  onBeforeRouteLeave(mayLeave);
  onBeforeRouteUpdate((to, from) => (to.path === from.path ? true : mayLeave()));
  const closing = (event: BeforeUnloadEvent) => {
    if (isChanged()) event.preventDefault();
  };
  addEventListener("beforeunload", closing);
  onScopeDispose(() => removeEventListener("beforeunload", closing));
}
