"""Notification templates: a foundation, since compliance actions refer to them. Their texts are calls of their own."""

from shared.connectors.policy_types.model import PolicyType, Risk, SubCall, SubCollection, UnorderedSet
from shared.domain.plans import Phase

_TEXTS = "localizedNotificationMessages"

NOTIFICATION_MESSAGE_TEMPLATE = PolicyType(
    key="notificationMessageTemplate",
    label="Notification message template",
    collection="deviceManagement/notificationMessageTemplates",
    odata_types=("notificationMessageTemplate",),
    folders=("MessageTemplates", "Notifications"),
    sub_collections=(SubCollection(_TEXTS, _TEXTS),),
    sub_calls=(SubCall(key=_TEXTS, path=_TEXTS, match="locale"),),
    server_keys=(f"{_TEXTS}[].id", f"{_TEXTS}[].lastModifiedDateTime"),
    create_only=("defaultLocale",),
    sets=(UnorderedSet(_TEXTS, by=("locale",)),),
    declared_types=("localizedNotificationMessage",),
    phase=Phase.FOUNDATION,
    risk=Risk.LOW,
)
