"""aioapns, the APNs library of asyncio programs.

It has no setting for APNs' address, so that of its protocol class is replaced. It finds the push that an answer
belongs to by the apns-id in the answer, as APNs gives it, so the sink has to give it too.
"""

import logging
from pathlib import Path

import msgspec
from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

from loadtest.peers.task import Push, Task, keep_under_way, main, trusting


def connect(task: Task) -> APNs:
    """To the sink; the connections themselves are made when they are needed."""
    APNsProductionClientProtocol.APNS_SERVER = task.host
    APNsProductionClientProtocol.APNS_PORT = task.port
    return APNs(
        key=Path(task.key_file).read_text(),
        key_id=task.key_id,
        team_id=task.team_id,
        topic=task.topic,
        max_connections=task.settings["connections"],
        ssl_context=trusting(task),
    )


async def send_all(task: Task) -> int:
    """Returns how many pushes were refused."""
    # one warning for each stream that nginx resets behind its answer would be most of the work
    logging.getLogger("aioapns").setLevel(logging.CRITICAL)
    message = msgspec.json.decode(task.payload)
    apns = connect(task)

    async def send(push: Push) -> bool:
        request = NotificationRequest(
            push.device_token, message, notification_id=push.apns_id, push_type=PushType.ALERT
        )
        answer = await apns.send_notification(request)
        return bool(answer.is_successful)

    return await keep_under_way(send, task.pushes, task.settings["window"])


if __name__ == "__main__":
    main(send_all)
