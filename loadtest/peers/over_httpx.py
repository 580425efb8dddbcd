"""httpx with HTTP/2: the client that most Python programs would take."""

import httpx

from loadtest.peers.task import Push, Task, keep_under_way, main, trusting

TIMEOUT_S = 30.0


async def send_all(task: Task) -> int:
    """Returns how many pushes were refused."""
    body = task.payload.encode()
    headers = {"authorization": f"bearer {task.bearer}", "apns-topic": task.topic, "apns-push-type": "alert"}
    limits = httpx.Limits(max_connections=task.settings["connections"])
    async with httpx.AsyncClient(
        http2=True, verify=trusting(task), limits=limits, timeout=TIMEOUT_S, headers=headers
    ) as client:

        async def send(push: Push) -> bool:
            answer = await client.post(
                f"{task.origin}/3/device/{push.device_token}",
                content=body,
                headers={"apns-id": push.apns_id},
            )
            return bool(answer.status_code == httpx.codes.OK)

        return await keep_under_way(send, task.pushes, task.settings["window"])


if __name__ == "__main__":
    main(send_all)
