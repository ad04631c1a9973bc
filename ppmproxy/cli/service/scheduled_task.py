"""A scheduled task for ppmproxy, as Windows wants it described.

To change how Windows starts the service and keeps it alive, open this file (Task Scheduler Schema 1.2, in whose
sequences the order of elements counts).
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

NAME = "ppmproxy"
NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"

_SETTINGS = (
    ("MultipleInstancesPolicy", "IgnoreNew"),
    ("DisallowStartIfOnBatteries", "false"),
    ("StopIfGoingOnBatteries", "false"),
    ("StartWhenAvailable", "true"),
    ("Hidden", "true"),
    ("ExecutionTimeLimit", "PT0S"),
)


def task(command: str, arguments: str) -> str:
    """The XML: started at log-on with the person's own rights, and again a minute after a failure."""
    root = ET.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    about = ET.SubElement(root, "RegistrationInfo")
    ET.SubElement(about, "Description").text = "Local authenticating proxy for Posit Package Manager"
    trigger = ET.SubElement(ET.SubElement(root, "Triggers"), "LogonTrigger")
    ET.SubElement(trigger, "Enabled").text = "true"
    principal = ET.SubElement(ET.SubElement(root, "Principals"), "Principal", {"id": "Author"})
    ET.SubElement(principal, "LogonType").text = "InteractiveToken"
    ET.SubElement(principal, "RunLevel").text = "LeastPrivilege"
    settings = ET.SubElement(root, "Settings")
    restart = ET.Element("RestartOnFailure")
    ET.SubElement(restart, "Interval").text = "PT1M"
    ET.SubElement(restart, "Count").text = "5"
    for name, value in _SETTINGS:
        ET.SubElement(settings, name).text = value
    settings.append(restart)
    run = ET.SubElement(ET.SubElement(root, "Actions", {"Context": "Author"}), "Exec")
    ET.SubElement(run, "Command").text = command
    ET.SubElement(run, "Arguments").text = arguments
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
